/** `host`: an agent on this machine; `host ls`, `drain` and `undrain`: the hosts of the cluster. */
import type { Command } from 'commander'
import type { HostView } from '../cluster/host-directory.ts'
import { stateDirectory } from '../cluster/layout.ts'
import { formatBytes, parseMemory } from '../cluster/sizes.ts'
import { type DirectoryFlag, inCluster, withDirectory } from './cluster-verbs.ts'
import { formatTable, printJson } from './output.ts'

interface HostFlags extends DirectoryFlag {
  readonly name?: string
  readonly store?: string
  readonly listen: string
  readonly domain?: string
  readonly memory?: number
}

export function registerHostVerbs(program: Command): void {
  const host = withDirectory(program.command('host'))
    .description('be a host of a cluster: run its agent on this machine, in the foreground')
    .option('--name <name>', 'name of this host; the machine name unless given')
    .option('--store <url>', 'the store of the cluster: a shared directory, or etcd://HOST:PORT')
    .option(
      '--listen <address>',
      'address for other hosts; nothing listens beyond loopback unless asked',
      '127.0.0.1',
    )
    .option('--domain <name>', 'failure domain: hosts that die together, such as a rack')
    .option('--memory <size>', 'memory for guests; all there is unless given', parseMemory)
    .action(async (flags: HostFlags) => {
      const { runHost } = await import('../cluster/run-host.ts')
      await runHost({
        directory: stateDirectory(flags.dir),
        name: flags.name ?? null,
        store: flags.store ?? null,
        address: flags.listen,
        failureDomain: flags.domain ?? null,
        memoryBytes: flags.memory ?? null,
      })
    })

  withDirectory(host.command('ls'))
    .description('list the hosts of the cluster')
    .option('--json', 'as JSON', false)
    .action(async (_flags: DirectoryFlag, command: Command) => {
      const flags = command.optsWithGlobals<DirectoryFlag & { json: boolean }>()
      const hosts = await inCluster(flags, (cluster) => cluster.hosts())
      if (flags.json) printJson(hosts.map(listed))
      else process.stdout.write(formatTable(HEADER, hosts.map(row)))
    })

  withDirectory(host.command('drain'))
    .description('move everything away from a host, live, and let nothing come to it')
    .argument('<host>')
    .action(async (name: string, _flags: DirectoryFlag, command: Command) => {
      let shown = -1
      await inCluster(command.optsWithGlobals<DirectoryFlag>(), (cluster) =>
        cluster.drain(name, (left) => {
          if (left !== shown) process.stderr.write(`${name} carries ${left} replicas\n`)
          shown = left
        }),
      )
      process.stdout.write(`${name} is drained\n`)
    })

  withDirectory(host.command('undrain'))
    .description('let things come to a drained host again')
    .argument('<host>')
    .action(async (name: string, _flags: DirectoryFlag, command: Command) => {
      await inCluster(command.optsWithGlobals<DirectoryFlag>(), (cluster) => cluster.undrain(name))
      process.stdout.write(`${name} takes virtual machines again\n`)
    })
}

const HEADER = ['HOST', 'STATE', 'ADDRESS', 'DOMAIN', 'PRIMARIES', 'BACKUPS', 'MEMORY', 'USED', 'CPUS']

/** The fields that `host ls --json` promises. */
function listed(view: HostView) {
  const replicas = view.status?.replicas ?? []
  const of = (role: 'primary' | 'backup') =>
    replicas.filter((replica) => replica.role === role).map(({ vm }) => vm)
  return {
    name: view.host,
    state: view.status === null ? 'unreachable' : view.draining ? 'draining' : 'ready',
    address: view.address,
    failureDomain: view.failureDomain,
    primaries: of('primary'),
    backups: of('backup'),
    memoryBytes: view.memoryBytes,
    usedBytes: replicas.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    cpus: view.cpus,
  }
}

function row(view: HostView): string[] {
  const { name, state, address, failureDomain, primaries, backups, memoryBytes, usedBytes, cpus } =
    listed(view)
  return [
    name,
    state,
    address,
    failureDomain,
    String(primaries.length),
    String(backups.length),
    formatBytes(memoryBytes),
    formatBytes(usedBytes),
    String(cpus),
  ]
}
