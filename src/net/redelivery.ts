/**
 * Frames for a machine that may yet have to be delivered again.
 *
 * A frame is safe once the backup holds it too. One that reached a primary which then died is lost, as if a
 * cable had been cut; TCP repairs that, but only after the sender's timer, and passt's is two seconds. So the
 * gateway remembers what it delivered until the replica says it is safe, and gives the rest to the replica that
 * goes live next: to the client the takeover is a short delay and no loss. Frames that came while nobody was
 * live wait here in the same way. A frame may so arrive twice, which Ethernet and IP permit.
 */

/** A burst of full-size segments that fills the largest TCP window passt uses fits. */
export const REDELIVERY_FRAMES_MAX = 4096
export const REDELIVERY_BYTES_MAX = 8 * 1024 * 1024

/** By then every sender has repeated what it still wants delivered. */
export const REDELIVERY_AGE_MS_MAX = 3_000

interface Kept {
  readonly frame: Uint8Array
  readonly keptMs: number
  /** Its place among the frames delivered on the live link, from 1; null if it was not delivered. */
  readonly delivery: number | null
}

export class RedeliveryBuffer {
  #kept: Kept[] = []
  #bytes = 0

  get frameCount(): number {
    return this.#kept.length
  }

  /** Keeps a copy: the frame may be a view of a buffer that is reused. The oldest give way if there are too many. */
  keep(frame: Uint8Array, delivery: number | null, nowMs: number): void {
    this.#kept.push({ frame: frame.slice(), keptMs: nowMs, delivery })
    this.#bytes += frame.length
    let dropped = 0
    while (
      this.#kept.length - dropped > REDELIVERY_FRAMES_MAX ||
      this.#bytes > REDELIVERY_BYTES_MAX ||
      nowMs - this.#kept[dropped]!.keptMs > REDELIVERY_AGE_MS_MAX
    ) {
      this.#bytes -= this.#kept[dropped]!.frame.length
      dropped++
    }
    if (dropped > 0) this.#kept.splice(0, dropped)
  }

  /** The first `count` frames delivered on the live link are safe. */
  taken(count: number): void {
    this.#replace(this.#kept.filter(({ delivery }) => delivery === null || delivery > count))
  }

  /** Empties the buffer and returns, in order, the frames still worth delivering. */
  drain(nowMs: number): Uint8Array[] {
    const frames = this.#kept
      .filter(({ keptMs }) => nowMs - keptMs <= REDELIVERY_AGE_MS_MAX)
      .map(({ frame }) => frame)
    this.#replace([])
    return frames
  }

  #replace(kept: Kept[]): void {
    this.#kept = kept
    this.#bytes = kept.reduce((sum, { frame }) => sum + frame.length, 0)
  }
}
