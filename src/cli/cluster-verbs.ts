/** `up` and `down`, and what all verbs need to find their cluster. */
import { type Command, InvalidArgumentError } from 'commander'
import { Cluster } from '../cluster/cluster.ts'
import { stateDirectory } from '../cluster/layout.ts'
import { clusterDown, clusterUp, HOSTS_MAX } from '../cluster/lifecycle.ts'

export interface DirectoryFlag {
  readonly dir?: string
}

/** Adds `--dir`, by which a command finds its cluster. */
export function withDirectory(command: Command): Command {
  return command.option('--dir <directory>', 'state directory of the cluster (or UNDERSTUDY_DIR)')
}

/** Opens the cluster of `--dir`, and closes it when the work is done or has failed. */
export async function inCluster<T>(flags: DirectoryFlag, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await Cluster.open(stateDirectory(flags.dir))
  try {
    return await work(cluster)
  } finally {
    await cluster.close()
  }
}

function hostCount(text: string): number {
  const count = Number(text)
  if (!/^[0-9]{1,3}$/.test(text) || count < 1 || count > HOSTS_MAX) {
    throw new InvalidArgumentError(`a number from 1 to ${HOSTS_MAX} is needed`)
  }
  return count
}

export function registerClusterVerbs(program: Command): void {
  withDirectory(program.command('up'))
    .description('start a local cluster in the background: one process per host, and the gateway')
    .option('--hosts <n>', 'how many hosts', hostCount, 2)
    .action(async (flags: DirectoryFlag & { hosts: number }) => {
      const directory = stateDirectory(flags.dir)
      const state = await clusterUp(directory, flags.hosts)
      const hosts = state.hosts.map(({ host, pid }) => `${host} (pid ${pid})`).join(', ')
      process.stdout.write(`cluster up: ${hosts}, gateway (pid ${state.gateway?.pid})\nstate: ${directory}\n`)
    })

  withDirectory(program.command('down'))
    .description('stop every virtual machine and every process of the cluster')
    .action(async (flags: DirectoryFlag) => {
      const wasUp = await clusterDown(stateDirectory(flags.dir))
      process.stdout.write(wasUp ? 'cluster down\n' : 'no cluster was up\n')
    })
}
