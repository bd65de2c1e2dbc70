/**
 * A watch as every store has it: look at intervals, and at once when something hints at a change; tell when what
 * was seen differs. The hints (a notice of the kernel, a stream of etcd) make it fast and may get lost; the
 * interval makes it sure.
 */
import type { Watch } from './store.ts'

export interface WatchedPart {
  /** What is there now, in a form in which any change shows. Rejects when the store is unreachable. */
  look(): Promise<string>
  /** Called after each look; `hinted` says whether a hint had announced it. */
  looked?(changed: boolean, hinted: boolean): void
  close?(): void
}

export class PolledWatch implements Watch {
  readonly #part: WatchedPart
  readonly #intervalMs: number
  readonly #onChange: () => void
  /** What the caller was last told of; null when a call is due whatever is seen, as at first and after a failure. */
  #told: string | null = null
  #looking = false
  #hinted = false
  #closed = false
  #timer: NodeJS.Timeout | undefined

  constructor(part: WatchedPart, intervalMs: number, onChange: () => void) {
    this.#part = part
    this.#intervalMs = intervalMs
    this.#onChange = onChange
    this.#lookAfter(0)
  }

  /** Something may have changed: look now, or again once the look under way has ended. */
  hint(): void {
    this.#hinted = true
    if (!this.#looking && !this.#closed) this.#lookAfter(0)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#part.close?.()
  }

  #lookAfter(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#look(), delayMs)
  }

  async #look(): Promise<void> {
    this.#looking = true
    const hinted = this.#hinted
    this.#hinted = false
    const seen = await this.#part.look().catch(() => null)
    this.#looking = false
    if (this.#closed) return
    const changed = seen !== this.#told
    this.#part.looked?.(changed, hinted)
    this.#told = seen
    // After a failure no haste, whatever hints: the store is asked again when the interval is over.
    this.#lookAfter(this.#hinted && seen !== null ? 0 : this.#intervalMs)
    if (changed && seen !== null) this.#onChange()
  }
}
