/** `cluster init`, `token` and `join`: whom the hosts of a cluster trust. */
import { hostname } from 'node:os'
import type { Command } from 'commander'
import { Cluster } from '../cluster/cluster.ts'
import { ClusterError } from '../cluster/errors.ts'
import { checkHostName } from '../cluster/host-record.ts'
import { ClusterLayout, stateDirectory } from '../cluster/layout.ts'
import { readClusterState, writeClusterState } from '../cluster/lifecycle.ts'
import { loadIdentity } from '../security/identity.ts'
import { openStore } from '../store/open.ts'
import { type DirectoryFlag, withDirectory } from './cluster-verbs.ts'

interface NameFlags extends DirectoryFlag {
  readonly name?: string
}

export function registerSecurityVerbs(program: Command): void {
  const cluster = program.command('cluster').description('whom the hosts of a cluster trust')

  withDirectory(cluster.command('init'))
    .description('begin a cluster of several machines: make its authority, and this host its first')
    .requiredOption('--store <url>', 'a directory that all hosts share, or etcd://HOST:PORT')
    .option('--name <name>', 'name of this host; the machine name unless given')
    .action(async (flags: NameFlags & { store: string }) => {
      const host = hostNameOf(flags)
      const layout = new ClusterLayout(stateDirectory(flags.dir))
      const { Authority } = await import('../security/authority.ts')
      await (await openStore(flags.store, { create: true })).close()
      await Authority.create(layout.identity, host)
      const { clusterId } = loadIdentity(layout.identity)
      writeClusterState(layout, { version: 2, store: flags.store, hosts: [], gateway: null })
      process.stdout.write(
        `cluster ${clusterId} begun, ${host} is its first host; its authority's key is in ${layout.identity}\n` +
          `next: understudy gateway, understudy host, and understudy cluster token for each further host\n`,
      )
    })

  withDirectory(cluster.command('token'))
    .description('make a token with which one more host can join, on the host of the authority')
    .action(async (flags: DirectoryFlag) => {
      const layout = new ClusterLayout(stateDirectory(flags.dir))
      const own = loadIdentity(layout.identity).host
      const { address, apiPort } = await agentOf(layout, own)
      const { createJoinToken } = await import('../security/join-server.ts')
      process.stdout.write(`${await createJoinToken(layout.identity, { address, port: apiPort })}\n`)
    })

  withDirectory(cluster.command('join'))
    .description('make this machine a host of a cluster, by a token from `understudy cluster token`')
    .argument('<token>')
    .requiredOption('--store <url>', 'the store of the cluster')
    .option('--name <name>', 'name of this host; the machine name unless given')
    .action(async (token: string, flags: NameFlags & { store: string }) => {
      const host = hostNameOf(flags)
      const layout = new ClusterLayout(stateDirectory(flags.dir))
      const { joinCluster } = await import('../security/join.ts')
      const { clusterId } = await joinCluster(token, host, layout.identity)
      writeClusterState(layout, { version: 2, store: flags.store, hosts: [], gateway: null })
      process.stdout.write(`${host} has joined cluster ${clusterId}; next: understudy host --name ${host}\n`)
    })
}

function hostNameOf({ name }: NameFlags): string {
  const host = name ?? hostname().split('.')[0].toLowerCase()
  checkHostName(host)
  return host
}

/** Where the agent of this host answers: that is where others ask to join. */
async function agentOf(layout: ClusterLayout, host: string): Promise<{ address: string; apiPort: number }> {
  if (readClusterState(layout) === null) {
    throw new ClusterError('CLUSTER_NOT_UP', `No cluster was begun in ${layout.directory}.`)
  }
  const cluster = await Cluster.open(layout.directory)
  try {
    const view = (await cluster.hosts()).find((other) => other.host === host)
    if (view?.apiPort != null) return { address: view.address, apiPort: view.apiPort }
  } finally {
    await cluster.close()
  }
  throw new ClusterError(
    'HOST_NOT_FOUND',
    `The agent of ${host} does not run: start it with understudy host.`,
  )
}
