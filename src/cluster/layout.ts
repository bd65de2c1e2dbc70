/**
 * Where a local cluster keeps its state. One directory holds everything; removing it while the cluster is down
 * removes the cluster.
 *
 *     DIR/cluster.json                    hosts and gateway, as `up` started them
 *     DIR/store/                          the shared store
 *     DIR/identity/                       certificates and keys of a host in a cluster beyond loopback
 *     DIR/gateway/                        sockets and log of the gateway
 *     DIR/hosts/HOST/agent.sock, agent.log, standby.log, events.jsonl
 *     DIR/hosts/HOST/vms/VM/              config.json, pid, control.sock, replica.log, diverged.log
 */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** The state directory: what was asked for, else UNDERSTUDY_DIR, else the XDG state home. */
export function stateDirectory(
  asked: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  const named = asked ?? environment.UNDERSTUDY_DIR
  if (named !== undefined && named !== '') return resolve(named)
  const stateHome = environment.XDG_STATE_HOME
  const home = stateHome?.startsWith('/') ? stateHome : join(homedir(), '.local/state')
  return join(home, 'understudy')
}

export class ClusterLayout {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get stateFile(): string {
    return join(this.directory, 'cluster.json')
  }

  get store(): string {
    return join(this.directory, 'store')
  }

  /** Who this host is in a cluster beyond loopback: certificates and keys. */
  get identity(): string {
    return join(this.directory, 'identity')
  }

  get gateway(): string {
    return join(this.directory, 'gateway')
  }

  get hosts(): string {
    return join(this.directory, 'hosts')
  }

  host(host: string): HostLayout {
    return new HostLayout(join(this.hosts, host))
  }
}

export class HostLayout {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get agentSocket(): string {
    return join(this.directory, 'agent.sock')
  }

  get agentLog(): string {
    return join(this.directory, 'agent.log')
  }

  get eventsFile(): string {
    return join(this.directory, 'events.jsonl')
  }

  /** What the process says that waits to become a replica. */
  get standbyLog(): string {
    return join(this.directory, 'standby.log')
  }

  get vms(): string {
    return join(this.directory, 'vms')
  }

  vm(vm: string): ReplicaLayout {
    return new ReplicaLayout(join(this.vms, vm))
  }
}

export class ReplicaLayout {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get configFile(): string {
    return join(this.directory, 'config.json')
  }

  get controlSocket(): string {
    return join(this.directory, 'control.sock')
  }

  /** Its process id, for when it does not answer. */
  get pidFile(): string {
    return join(this.directory, 'pid')
  }

  /** What the process wrote to stdout and stderr: diagnostics. */
  get processLog(): string {
    return join(this.directory, 'replica.log')
  }

  /** The log of a backup that diverged. */
  get divergedLog(): string {
    return join(this.directory, 'diverged.log')
  }
}
