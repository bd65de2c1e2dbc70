/** `run`, `ps`, `info`, `stop`, `rm`, `failover`, `pause`, `resume` and `limit`: the life of virtual machines. */
import { type Command, InvalidArgumentError } from 'commander'
import { replicasOf } from '../cluster/host-directory.ts'
import { formatBytes, parseCpuShare, parseMemory, parsePublish } from '../cluster/sizes.ts'
import type { Publish } from '../cluster/vm-record.ts'
import type { VmStatus } from '../cluster/vm-status.ts'
import { findImage, type OpenedImage, verifyImage } from '../image/directory.ts'
import type { Start } from '../replica/config.ts'
import { SnapshotError } from '../snapshot/errors.ts'
import { type DirectoryFlag, inCluster, withDirectory } from './cluster-verbs.ts'
import { formatCount, formatTable, printJson } from './output.ts'
import { bootOf, POWER_OFF_INPUT, startOf } from './vm-boot.ts'

/** Long enough for a guest to stop its services; who is in a hurry says `--time 0`. */
const STOP_SECONDS = 10
const STOP_SECONDS_MAX = 600

interface RunFlags extends DirectoryFlag {
  readonly name: string
  readonly memory?: number
  readonly publish: readonly Publish[]
  readonly protect: boolean
  readonly append?: string
  readonly snapshot: boolean
}

export function registerVmVerbs(program: Command): void {
  registerRun(program)
  registerPs(program)
  registerInfo(program)

  withDirectory(program.command('stop'))
    .description('shut a virtual machine down: gracefully if the guest can, else its power is cut')
    .argument('<name>')
    .option(
      '--time <seconds>',
      'how long the guest may take; 0 cuts its power at once',
      seconds,
      STOP_SECONDS,
    )
    .action(async (name: string, flags: DirectoryFlag & { time: number }) => {
      await inCluster(flags, (cluster) => cluster.stop(name, Math.round(flags.time * 1000)))
      process.stdout.write(`${name} stopped\n`)
    })

  withDirectory(program.command('rm'))
    .description('forget a stopped virtual machine')
    .argument('<name>')
    .option('-f, --force', 'also one that runs: its power is cut', false)
    .action(async (name: string, flags: DirectoryFlag & { force: boolean }) => {
      await inCluster(flags, (cluster) => cluster.remove(name, { force: flags.force }))
      process.stdout.write(`${name} removed\n`)
    })

  withDirectory(program.command('failover'))
    .description('hand a protected virtual machine over to its backup on purpose')
    .argument('<name>')
    .action(async (name: string, flags: DirectoryFlag) => {
      await inCluster(flags, (cluster) => cluster.failover(name))
      process.stdout.write(`${name} is being taken over; see: understudy events\n`)
    })

  registerControls(program)
}

/** Operations on a machine that goes on existing; they hold through takeovers. */
function registerControls(program: Command): void {
  withDirectory(program.command('restart'))
    .description('reset a virtual machine, as its button would: it boots again and stays protected')
    .argument('<name>')
    .action(async (name: string, flags: DirectoryFlag) => {
      await inCluster(flags, (cluster) => cluster.restart(name))
      process.stdout.write(`${name} boots again\n`)
    })

  withDirectory(program.command('pause'))
    .description('stop a virtual machine where it is, until it is resumed')
    .argument('<name>')
    .action(async (name: string, flags: DirectoryFlag) => {
      await inCluster(flags, (cluster) => cluster.pause(name))
      process.stdout.write(`${name} paused\n`)
    })

  withDirectory(program.command('resume'))
    .description('let a paused virtual machine go on')
    .argument('<name>')
    .action(async (name: string, flags: DirectoryFlag) => {
      await inCluster(flags, (cluster) => cluster.resume(name))
      process.stdout.write(`${name} resumed\n`)
    })

  withDirectory(program.command('limit'))
    .description('bound the CPU that a virtual machine may use')
    .argument('<name>')
    .requiredOption('--cpu <percent>', 'of a core, from 5% to 100%, which is no limit', parseCpuShare)
    .action(async (name: string, flags: DirectoryFlag & { cpu: number }) => {
      await inCluster(flags, (cluster) => cluster.limit(name, flags.cpu))
      process.stdout.write(`${name} limited to ${Math.round(flags.cpu * 10_000) / 100}% of a core\n`)
    })
}

function registerRun(program: Command): void {
  withDirectory(program.command('run'))
    .description('start a virtual machine from an image, protected unless told otherwise')
    .argument('<image>', 'name of an image, see `understudy image ls`')
    .requiredOption('--name <name>', 'name of the virtual machine')
    .option('--memory <size>', 'guest RAM, such as 512M or 1G; the image knows a default', parseMemory)
    .option(
      '--publish <hostport:guestport>',
      'make a port of the guest reachable on loopback; repeatable',
      (text: string, list: readonly Publish[]) => [...list, parsePublish(text)],
      [],
    )
    .option('--no-protect', 'run without a backup')
    .option('--append <line>', 'more words for the kernel command line')
    .option('--no-snapshot', 'boot anew instead of going on from a snapshot of the booted image')
    .action(async (imageName: string, flags: RunFlags) => {
      const image = await findImage(imageName)
      const memoryBytes = flags.memory ?? image.manifest.memoryMiB * 1024 * 1024
      const status = await inCluster(flags, async (cluster) => {
        // Before a boot for a snapshot, which takes seconds.
        await cluster.checkNew(flags.name)
        const start = flags.snapshot ? await startOrBoot(image, memoryBytes, flags) : null
        if (start === null) await verifyImage(image)
        return cluster.run({
          name: flags.name,
          image: imageName,
          boot: bootOf(image, flags.name, flags.append),
          start,
          powerOffInput: POWER_OFF_INPUT,
          memoryBytes,
          publish: flags.publish,
          protect: flags.protect,
        })
      })
      process.stdout.write(describe(status))
    })
}

/** Without a snapshot the machine boots as ever: slower, and otherwise the same. */
async function startOrBoot(image: OpenedImage, memoryBytes: number, flags: RunFlags): Promise<Start | null> {
  const { name, append } = flags
  const onMake = () =>
    process.stderr.write('booting the image once for a snapshot, from which later machines start at once\n')
  try {
    return await startOf({ image, name, memoryBytes, append, onMake })
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error
    process.stderr.write(`no snapshot: ${error.message}\n`)
    return null
  }
}

function registerPs(program: Command): void {
  withDirectory(program.command('ps'))
    .description('list virtual machines')
    .option('--json', 'as JSON', false)
    .action(async (flags: DirectoryFlag & { json: boolean }) => {
      const list = await inCluster(flags, (cluster) => cluster.list())
      if (flags.json) {
        printJson(list.map(listed))
        return
      }
      const header = [
        'NAME',
        'STATE',
        'PROTECTION',
        'GEN',
        'PRIMARY',
        'BACKUP',
        'LAG',
        'RETIRED',
        'PUBLISHED',
      ]
      process.stdout.write(formatTable(header, list.map(row)))
    })
}

function registerInfo(program: Command): void {
  withDirectory(program.command('info'))
    .description('show one virtual machine')
    .argument('<name>')
    .option('--json', 'as JSON', false)
    .action(async (name: string, flags: DirectoryFlag & { json: boolean }) => {
      const { status, replicas } = await inCluster(flags, async (cluster) => ({
        status: await cluster.status(name),
        replicas: replicasOf(await cluster.hosts()).filter(({ vm }) => vm === name),
      }))
      if (flags.json) {
        printJson({ ...status, replicas })
        return
      }
      process.stdout.write(describe(status))
      for (const replica of replicas) {
        process.stdout.write(
          `  ${replica.role} on ${replica.host}: ${replica.phase}, pid ${replica.pid}, guest time ` +
            `${replica.guestSeconds.toFixed(1)} s, log ${replica.logFrames} frames, ${replica.logBytes} bytes\n`,
        )
      }
    })
}

/** The fields that `ps --json` promises. */
function listed(vm: VmStatus) {
  const { name, state, protection, generation, primary, backup, lagMs, retired } = vm
  return { name, state, protection, generation, primary, backup, lagMs, retired }
}

function row(vm: VmStatus): string[] {
  const place = (replica: VmStatus['primary']) => (replica === null ? '-' : `${replica.host}/${replica.pid}`)
  return [
    vm.name,
    vm.state,
    vm.protection,
    String(vm.generation),
    place(vm.primary),
    place(vm.backup),
    vm.lagMs === null ? '-' : `${vm.lagMs.toFixed(1)} ms`,
    formatCount(vm.retired),
    vm.publish.map(({ hostPort, guestPort }) => `${hostPort}:${guestPort}`).join(' ') || '-',
  ]
}

function describe(vm: VmStatus): string {
  const place = (replica: VmStatus['primary']) =>
    replica === null ? 'none' : `${replica.host}, pid ${replica.pid}`
  const ports = vm.publish.map(({ hostPort, guestPort }) => `127.0.0.1:${hostPort} -> ${guestPort}`)
  return [
    `${vm.name}: ${vm.state}, ${vm.protection}, generation ${vm.generation}`,
    `  image ${vm.image}, memory ${formatBytes(vm.memoryBytes)}`,
    ...(vm.cpuLimit < 1 ? [`  limited to ${Math.round(vm.cpuLimit * 10_000) / 100}% of a core`] : []),
    `  primary ${place(vm.primary)}`,
    `  backup  ${place(vm.backup)}`,
    ...ports.map((port) => `  port    ${port}`),
    '',
  ].join('\n')
}

function seconds(text: string): number {
  const value = Number(text)
  if (!/^[0-9]+(\.[0-9]+)?$/.test(text) || value > STOP_SECONDS_MAX) {
    throw new InvalidArgumentError(`seconds from 0 to ${STOP_SECONDS_MAX} are needed`)
  }
  return value
}
