/** Virtual machines of a cluster on this machine, alone or protected by a backup, as a user starts them. */
import { bootOf } from '../src/cli/vm-boot.ts'
import type { VmStatus } from '../src/cluster/vm-status.ts'
import { TestCluster } from '../test/test-cluster.ts'
import { GuestConsole } from './guest-console.ts'
import type { GuestImage } from './guest-image.ts'
import type { RunningSide } from './sides.ts'

/** Started after the machines that boot with them are up; a busy machine needs its time. */
const PROTECTED_MS_MAX = 60_000

/** `hosts` is 1, or 2 for a pair. */
export async function clusterMachine(name: string, guest: GuestImage, hosts: 1 | 2): Promise<RunningSide> {
  const world = await TestCluster.up(hosts)
  try {
    await world.cluster.run({
      name,
      image: guest.image.manifest.name,
      boot: bootOf(
        { ...guest.image, manifest: { ...guest.image.manifest, append: guest.append } },
        name,
        undefined,
      ),
      powerOffInput: null,
      memoryBytes: guest.memoryMiB * 1024 * 1024,
      publish: [],
      protect: hosts === 2,
    })
    const wanted = hosts === 2 ? 'protected' : 'unprotected'
    const isWanted = ({ state, protection }: VmStatus) => state === 'running' && protection === wanted
    const { primary, generation } = await world.status(name, isWanted, PROTECTED_MS_MAX)
    const stream = await world.cluster.console(name, { history: true })
    return {
      console: new GuestConsole(name, stream, stream, () => world.logs(name)),
      pids: [primary!.pid],
      retired: async () => {
        const status = await world.cluster.status(name)
        if (status.generation !== generation || status.protection !== wanted) {
          throw new Error(
            `${name} is ${status.protection} in generation ${status.generation}:\n${world.logs(name)}`,
          )
        }
        return status.retired
      },
      close: () => world.down(),
    }
  } catch (error) {
    await world.down()
    throw error
  }
}
