/**
 * The way out of a segment: a passt process that is started again if it dies. The clients' connections are gone
 * then, because passt held them; the VM and new connections are not.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { GatewayLog } from './gateway.ts'
import { GUEST_MAC, Passt, type PublishedPort } from './passt.ts'

/** Between attempts to start passt again: soon at first, for it may have been killed by mistake; then patiently. */
const RESTART_DELAY_MS_MIN = 50
const RESTART_DELAY_MS_MAX = 5_000

export class Uplink {
  /** Frames that came while no passt was there. */
  droppedFrames = 0
  restarts = 0
  readonly #published: readonly PublishedPort[]
  readonly #receive: (frame: Uint8Array) => void
  readonly #log: GatewayLog
  readonly #stopped = new AbortController()
  #passt: Passt | null = null

  constructor(published: readonly PublishedPort[], receive: (frame: Uint8Array) => void, log: GatewayLog) {
    this.#published = published
    this.#receive = receive
    this.#log = log
  }

  get pid(): number | null {
    return this.#passt?.pid ?? null
  }

  get queueDroppedFrames(): number {
    return this.#passt?.droppedFrames ?? 0
  }

  /** Rejects as `Passt.ready` does. */
  async start(): Promise<void> {
    const passt = new Passt(this.#published, GUEST_MAC, {
      frame: this.#receive,
      died: (message) => {
        this.#log.error({ passt: passt.pid, message }, 'passt died; the connections through it are lost')
        this.#passt = null
        void this.#restart()
      },
    })
    await passt.ready()
    if (this.#stopped.signal.aborted) await passt.stop()
    else this.#passt = passt
  }

  send(frame: Uint8Array): void {
    if (this.#passt === null) this.droppedFrames++
    else this.#passt.send(frame)
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#passt?.stop()
    this.#passt = null
  }

  async #restart(): Promise<void> {
    const { signal } = this.#stopped
    for (let delayMs = RESTART_DELAY_MS_MIN; ; delayMs = Math.min(2 * delayMs, RESTART_DELAY_MS_MAX)) {
      try {
        await delay(delayMs, undefined, { signal })
        await this.start()
        this.restarts++
        this.#log.warn({ passt: this.pid }, 'passt runs again')
        return
      } catch (error) {
        if (signal.aborted) return
        this.#log.error({ error: (error as Error).message }, 'passt does not start again')
      }
    }
  }
}
