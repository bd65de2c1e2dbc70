/** The processes of replicas: one is kept that has loaded everything, so that the next machine starts at once. */
import type { ChildProcess } from 'node:child_process'
import { renameSync } from 'node:fs'
import { extname } from 'node:path'
import { isAlive, startBackground } from './background.ts'
import type { HostLayout, ReplicaLayout } from './layout.ts'

const REPLICA_MODULE = new URL(`../replica/main${extname(import.meta.url)}`, import.meta.url)

const REPLICA_FLAGS = [
  // The I/O thread must not wait for helpers of the garbage collector that get no core.
  '--single-threaded-gc',
  // MiB. Each of its three threads has a young generation of three of these; more saved no time.
  '--max-semi-space-size=4',
  // V8's own threads optimise code: one of them is as good as four on the core that they are left.
  '--v8-pool-size=1',
]

/**
 * One arena for all threads, trimmed early (glibc, mallopt(3)): V8's compiling threads allocate and free megabytes at a
 * time, and each would keep what it had most of in an arena of its own.
 */
const REPLICA_ENVIRONMENT = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '262144' }

/** A machine that has just started needs the cores more than the next one, which may never come. */
const NEXT_MS = 3_000

export class StandbyReplica {
  readonly #layout: HostLayout
  #child: ChildProcess | null = null
  #next: NodeJS.Timeout | null = null

  constructor(layout: HostLayout) {
    this.#layout = layout
  }

  /** Starts the process that waits. It ends by itself when this process does. */
  prepare(): void {
    this.#next = null
    const { standbyLog } = this.#layout
    this.#child = startBackground({
      module: REPLICA_MODULE,
      execArgv: REPLICA_FLAGS,
      environment: REPLICA_ENVIRONMENT,
      args: ['--standby'],
      logFile: standbyLog,
      takesMessages: true,
    })
    // It may end before it is needed: another one is started then.
    this.#child.on('error', () => undefined)
  }

  /** The process that carries the replica with this configuration file from now on. */
  assign(replica: ReplicaLayout, mayStandBy: boolean): ChildProcess {
    const waiting = mayStandBy ? this.#take() : null
    if (waiting === null) {
      return startBackground({
        module: REPLICA_MODULE,
        execArgv: REPLICA_FLAGS,
        environment: REPLICA_ENVIRONMENT,
        args: [replica.configFile],
        logFile: replica.processLog,
      })
    }
    // The open file keeps its place under the new name.
    renameSync(this.#layout.standbyLog, replica.processLog)
    waiting.send(replica.configFile)
    return waiting
  }

  #take(): ChildProcess | null {
    const child = this.#child
    this.#child = null
    this.#next ??= setTimeout(() => this.prepare(), NEXT_MS).unref()
    return child?.pid !== undefined && child.connected && isAlive(child.pid) ? child : null
  }
}
