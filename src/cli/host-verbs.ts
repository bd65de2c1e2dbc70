/** `host`: an agent on this machine; `host ls`, `drain` and `undrain`: the hosts of the cluster. */
import { hostname } from 'node:os'
import { type Command, InvalidArgumentError } from 'commander'
import { ClusterError } from '../cluster/errors.ts'
import type { HostView } from '../cluster/host-directory.ts'
import { checkHostName } from '../cluster/host-record.ts'
import { ClusterLayout, stateDirectory } from '../cluster/layout.ts'
import { readClusterState, writeClusterState } from '../cluster/lifecycle.ts'
import { formatBytes, parseMemory } from '../cluster/sizes.ts'
import { type DirectoryFlag, inCluster, withDirectory } from './cluster-verbs.ts'
import { formatTable, printJson } from './output.ts'

interface HostFlags extends DirectoryFlag {
  readonly name?: string
  readonly store?: string
  readonly listen: string
  readonly domain?: string
  readonly memory?: number
  readonly apiPort: number
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
    .option('--api-port <port>', 'where the agent answers other hosts; any unless given', portNumber, 0)
    .action(async (flags: HostFlags) => {
      const directory = stateDirectory(flags.dir)
      const host = flags.name ?? hostname().split('.')[0].toLowerCase()
      checkHostName(host)
      const layout = new ClusterLayout(directory)
      const before = readClusterState(layout)
      const store = flags.store ?? before?.store
      if (store === undefined) {
        throw new ClusterError('CLUSTER_NOT_UP', `${directory} belongs to no cluster yet: --store is needed.`)
      }
      // Only the agent itself needs all that an agent is made of.
      const { runHost } = await import('../cluster/run-host.ts')
      const agent = await runHost({
        directory,
        host,
        store,
        address: flags.listen,
        apiPort: flags.apiPort,
        failureDomain: flags.domain ?? null,
        memoryBytes: flags.memory ?? null,
      })
      const others = (before?.hosts ?? []).filter((other) => other.host !== host)
      const hosts = [...others, { host, pid: process.pid }]
      writeClusterState(layout, { version: 2, store, hosts, gateway: before?.gateway ?? null })
      await agent.joined
      process.stdout.write(`host ${host} (pid ${process.pid}) is in the cluster of ${store}\n`)
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

function portNumber(text: string): number {
  const port = Number(text)
  if (/^[0-9]{1,5}$/.test(text) && port <= 65_535) return port
  throw new InvalidArgumentError('a port from 0 to 65535 is needed')
}
