/**
 * The I/O thread's part of cloning the live machine of this replica onto another host (FT VMotion): carries the state
 * from the CPU thread to the clone, no faster than that takes it or than was asked for, and watches over the attempt until
 * the clone is the backup. Whatever goes wrong, the machine runs on alone as before.
 */
import type { Socket } from 'node:net'
import { promisify } from 'node:util'
import { type ZstdOptions, constants as zlib, zstdCompress } from 'node:zlib'
import type { FrameCursor } from '../replay/frame.ts'
import { connectLink } from '../security/links.ts'
import type { LinkAccess } from './channel.ts'
import {
  CLONE_VERSION,
  CloneDecoder,
  type CloneMessage,
  encodeCloneMessage,
  STATE_BYTES_MAX,
} from './clone-codec.ts'
import type { CloneOrder } from './config.ts'
import type { Cpu } from './cpu.ts'
import { ReplicaError } from './errors.ts'
import { type CopyReport, monotonicMs } from './thread-messages.ts'

/** On their way between the CPU thread and the wire: enough that neither waits for the other, and no burden. */
const WINDOW_PAGES = 2048
const PAGE_BYTES = 4096

/** Level 1: higher levels shrink guest memory by some per cent more, and take twice the time. */
const ZSTD_LEVEL = 1
const compress: (bytes: Uint8Array, options: ZstdOptions) => Promise<Uint8Array> = promisify(zstdCompress)

export type CloneOutcome = 'cloned' | 'failed' | 'cancelled'

/** For `info`, the metrics and a progress bar. */
export interface CloneProgress {
  /** Host of the clone. */
  readonly host: string
  readonly phase: 'connecting' | 'sending' | 'restoring' | 'joining'
  readonly pages: number
  readonly pagesLeft: number
  /** Bytes of state given to the network, as they went over it. */
  readonly sentBytes: number
  readonly elapsedMs: number
}

/** What the guest noticed of a clone, and what it cost. */
export interface CloneFigures {
  readonly durationMs: number
  readonly sentBytes: number
  readonly pages: number
  /** The machine stood still for this long at once at most, and at half of the times. */
  readonly stopMsMax: number
  readonly stopMsMedian: number
}

export interface CloneSenderOptions {
  readonly vm: string
  readonly generation: number
  readonly order: CloneOrder
  readonly access: LinkAccess
  readonly cpu: Cpu
  /** The machine is captured: the protocol shall admit the clone, whose last frame is `sequence`. */
  admit(cursor: FrameCursor): void
  /** The clone has the state: it may be called. */
  call(): void
  /** Once, at the end. `reason` is null when it is the backup. */
  ended(outcome: CloneOutcome, reason: ReplicaError | null, figures: CloneFigures): void
}

export class CloneSender {
  readonly #options: CloneSenderOptions
  readonly #socket: Socket
  readonly #sinceMs = monotonicMs()
  readonly #stopsMs: number[] = []
  readonly #deadline: NodeJS.Timeout
  #phase: CloneProgress['phase'] = 'connecting'
  #pages = 0
  #pagesLeft = 0
  #sentBytes = 0
  /** Settles when what was given to the connection so far has left, in order. */
  #sent: Promise<void> = Promise.resolve()
  #hasEnded = false

  constructor(options: CloneSenderOptions) {
    this.#options = options
    const { peer, deadlineMs } = options.order
    this.#socket = connectLink({
      host: peer.address,
      port: peer.clonePort,
      ...options.access,
      onReady: () => this.#connected(),
    })
    this.#deadline = setTimeout(() => this.#fail(`it took longer than ${deadlineMs} ms`), deadlineMs)
    const decoder = new CloneDecoder()
    this.#socket.on('data', (chunk: Buffer) => this.#heard(decoder, chunk))
    this.#socket.on('error', (error) => this.#fail(error.message))
    this.#socket.on('close', () => this.#fail('the clone has closed the connection'))
  }

  get progress(): CloneProgress {
    return {
      host: this.#options.order.peer.host,
      phase: this.#phase,
      pages: this.#pages,
      pagesLeft: this.#pagesLeft,
      sentBytes: this.#sentBytes,
      elapsedMs: monotonicMs() - this.#sinceMs,
    }
  }

  /** What the CPU thread says of the copy comes here. */
  reported(report: CopyReport): void {
    if (this.#hasEnded) return
    if (report.kind === 'clone-refused') {
      this.#fail(report.message)
      return
    }
    this.#stopsMs.push(report.stopMs)
    if (report.kind === 'clone-begun') this.#begun(report.cursor, report.pages)
    else this.#piece(report)
  }

  /** The protocol has taken the clone as the backup, or has given it up. */
  admitted(isBackup: boolean): void {
    if (this.#hasEnded) return
    if (!isBackup) {
      this.#fail('the protocol gave the clone up')
      return
    }
    this.#write({ kind: 'bound' })
    this.#socket.end()
    this.#end('cloned', null)
  }

  /** Gives the attempt up. Nothing happens when it is over. */
  cancel(): void {
    this.#abandon('cancelled', new ReplicaError('CLONE_BROKEN', 'The clone was cancelled.'))
  }

  #connected(): void {
    this.#options.cpu.send({ kind: 'clone' })
  }

  #begun(cursor: FrameCursor, pages: number): void {
    const { vm, generation, order } = this.#options
    this.#phase = 'sending'
    this.#pages = pages
    this.#pagesLeft = pages
    this.#write({
      kind: 'header',
      header: {
        version: CLONE_VERSION,
        vm,
        generation,
        replica: order.replica,
        sequence: cursor.sequence,
        clock: String(cursor.clock),
        clockRate: cursor.clockRate,
      },
    })
    this.#options.admit(cursor)
    this.#options.cpu.send({ kind: 'clone-credit', pages: WINDOW_PAGES })
  }

  #piece({ bytes, pages, pagesLeft }: Extract<CopyReport, { kind: 'clone-piece' }>): void {
    this.#sent = this.#sent
      .then(() => this.#sendState(bytes, pages))
      .then(() => {
        this.#pagesLeft = pagesLeft
        this.#options.cpu.send({ kind: 'clone-credit', pages })
        if (pagesLeft > 0 || this.#hasEnded) return
        this.#phase = 'restoring'
        this.#write({ kind: 'end' })
      })
      .catch((error: Error) => this.#fail(error.message))
  }

  /** Resolves when the piece has left, and not before the rate that was asked for allows the next one. */
  async #sendState(bytes: Uint8Array, pages: number): Promise<void> {
    if (this.#hasEnded) return
    const { compressed, bytesPerSecond } = this.#options.order
    const untilMs = bytesPerSecond === null ? 0 : monotonicMs() + (pages * PAGE_BYTES * 1000) / bytesPerSecond
    for (let from = 0; from < bytes.length; from += STATE_BYTES_MAX) {
      const part = bytes.subarray(from, from + STATE_BYTES_MAX)
      const packed = compressed
        ? await compress(part, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } })
        : null
      const isSmaller = packed !== null && packed.length < part.length
      await this.#written(
        isSmaller ? { kind: 'packed-state', bytes: packed } : { kind: 'state', bytes: part },
      )
      this.#sentBytes += isSmaller ? packed.length : part.length
    }
    this.#options.cpu.recycle(bytes)
    const waitMs = untilMs - monotonicMs()
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
  }

  /** Resolves when the connection needs the bytes no longer. */
  async #written(message: CloneMessage): Promise<void> {
    if (this.#hasEnded) return
    const pieces = encodeCloneMessage(message)
    const last = pieces.pop()
    for (const piece of pieces) this.#socket.write(piece)
    await new Promise<void>((resolve) => {
      this.#socket.once('close', resolve)
      this.#socket.write(last ?? '', () => {
        this.#socket.off('close', resolve)
        resolve()
      })
    })
  }

  #write(message: CloneMessage): void {
    for (const piece of encodeCloneMessage(message)) this.#socket.write(piece)
  }

  #heard(decoder: CloneDecoder, chunk: Buffer): void {
    try {
      for (const message of decoder.push(chunk)) this.#message(message)
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error))
    }
  }

  #message(message: CloneMessage): void {
    if (message.kind === 'restored' && this.#phase === 'restoring') {
      this.#phase = 'joining'
      this.#options.call()
      return
    }
    const detail = message.kind === 'failed' ? message.failure.message : `it says ${message.kind}`
    this.#fail(`on the clone's side: ${detail}`)
  }

  #fail(detail: string): void {
    const { peer } = this.#options.order
    this.#abandon('failed', new ReplicaError('CLONE_BROKEN', `The clone on ${peer.host} failed: ${detail}.`))
  }

  #abandon(outcome: CloneOutcome, reason: ReplicaError): void {
    if (this.#hasEnded) return
    this.#options.cpu.send({ kind: 'clone-cancel' })
    this.#socket.destroy()
    this.#end(outcome, reason)
  }

  #end(outcome: CloneOutcome, reason: ReplicaError | null): void {
    this.#hasEnded = true
    clearTimeout(this.#deadline)
    const stopsMs = this.#stopsMs.sort((a, b) => a - b)
    this.#options.ended(outcome, reason, {
      durationMs: monotonicMs() - this.#sinceMs,
      sentBytes: this.#sentBytes,
      pages: this.#pages,
      stopMsMax: stopsMs.at(-1) ?? 0,
      stopMsMedian: stopsMs[Math.floor(stopsMs.length / 2)] ?? 0,
    })
  }
}
