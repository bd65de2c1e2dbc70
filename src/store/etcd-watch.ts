/**
 * What a watch sees of etcd: the newest revision below its prefix. etcd's watch stream says when to look; what it
 * says beyond that is not read, for whoever is called lists anyway. A stream that hangs, or whose watch etcd has
 * cancelled, shows by a change that it did not announce, and is begun anew at another endpoint.
 */
import type { EtcdClient } from './etcd-client.ts'
import type { EtcdRange } from './etcd-messages.ts'
import type { WatchedPart } from './polled-watch.ts'

/** An etcd that refuses is not asked in a busy loop. */
const STREAM_RETRY_MS = 500

/** What a watch needs of its client. */
export type WatchStreams = Pick<EtcdClient, 'stream' | 'passOver'>

export class EtcdWatch implements WatchedPart {
  readonly #client: WatchStreams
  readonly #range: EtcdRange
  readonly #newest: () => Promise<string>
  readonly #hint: () => void
  #endStream: (() => void) | null = null
  #retryTimer: NodeJS.Timeout | undefined
  #looked = false
  #closed = false

  constructor(client: WatchStreams, range: EtcdRange, newest: () => Promise<string>, hint: () => void) {
    this.#client = client
    this.#range = range
    this.#newest = newest
    this.#hint = hint
    this.#stream()
  }

  look(): Promise<string> {
    return this.#newest()
  }

  looked(changed: boolean, hinted: boolean): void {
    if (this.#looked && changed && !hinted) {
      this.#client.passOver()
      this.#endStream?.()
    }
    this.#looked = true
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#retryTimer)
    this.#endStream?.()
  }

  /** Its first answer, that the watch stands, is a hint as well: so nothing is missed before. */
  #stream(): void {
    if (this.#closed) return
    this.#endStream = this.#client.stream(
      '/v3/watch',
      { create_request: this.#range },
      () => this.#hint(),
      () => {
        this.#endStream = null
        if (this.#closed) return
        this.#retryTimer = setTimeout(() => this.#stream(), STREAM_RETRY_MS)
      },
    )
  }
}
