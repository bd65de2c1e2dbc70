/**
 * The I/O thread's part of becoming a clone: waits for the source's connection, hands the state on to the CPU thread, and
 * tells the source when the machine stands. A clone whose source goes away before it is the backup is of no use.
 */
import type { Socket } from 'node:net'
import { promisify } from 'node:util'
import { type ZstdOptions, zstdDecompress } from 'node:zlib'
import { UnderstudyError } from '../errors.ts'
import { ADMISSION_MS_MAX, CLONE_AWAITED_MS_MAX } from '../ft/timing.ts'
import { type LinkListener, listenLink } from '../security/links.ts'
import type { LinkAccess } from './channel.ts'
import {
  CloneDecoder,
  type CloneHeader,
  type CloneMessage,
  encodeCloneMessage,
  STATE_BYTES_MAX,
} from './clone-codec.ts'
import type { Cpu } from './cpu.ts'
import { ReplicaError } from './errors.ts'

const unpack = promisify<Uint8Array, ZstdOptions, Buffer>(zstdDecompress)

/** Connections that have not said yet that they are the source: scanners, or a source that calls again. */
const CONNECTIONS_MAX = 4
/** A source connects when it is about to send. */
const HEADER_MS_MAX = 10_000

export interface CloneReceiverOptions {
  readonly vm: string
  readonly replica: string
  readonly generation: number
  /** The source is there: the log goes on where the header says. */
  begun(header: CloneHeader): void
  /** There will be no pair. */
  failed(reason: ReplicaError): void
}

export class CloneReceiver {
  readonly #options: CloneReceiverOptions
  #listener: LinkListener | null = null
  readonly #connections = new Set<Socket>()
  #source: Socket | null = null
  #cpu: Cpu | null = null
  /** The source has said that the pair stands, or this side has given up. */
  #isOver = false
  #deadline: NodeJS.Timeout

  private constructor(options: CloneReceiverOptions) {
    this.#options = options
    this.#deadline = this.#giveUpAfter(CLONE_AWAITED_MS_MAX)
  }

  /** A source whose host has lost its power closes no connection. */
  #giveUpAfter(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#give(`It did not get through within ${delayMs} ms.`), delayMs)
  }

  /** Rejects with LISTEN_FAILED, or SECURITY_IDENTITY_MISSING. */
  static async listen(
    address: string,
    access: LinkAccess,
    options: CloneReceiverOptions,
  ): Promise<CloneReceiver> {
    const receiver = new CloneReceiver(options)
    const onSocket = (socket: Socket) => receiver.#connected(socket)
    try {
      receiver.#listener = await listenLink({ host: address, port: 0 }, { ...access, onSocket })
    } catch (error) {
      if (error instanceof UnderstudyError) throw error
      throw new ReplicaError('LISTEN_FAILED', `${address}: ${String(error)}`, { cause: error })
    }
    return receiver
  }

  get port(): number {
    return this.#listener?.port ?? 0
  }

  /** Where the state goes. Before the first connection. */
  attach(cpu: Cpu): void {
    this.#cpu = cpu
  }

  /** The machine stands in the state that was sent. */
  restored(): void {
    this.#write({ kind: 'restored' })
  }

  /** Nothing will come: whoever ordered this says so. Nothing happens when it has begun to come. */
  abandon(): void {
    if (this.#source === null) this.#give('It was called off.')
  }

  #give(detail: string): void {
    if (this.#isOver) return
    this.close()
    this.#options.failed(new ReplicaError('CLONE_BROKEN', detail))
  }

  /** Tells the source, if there is one, why there will be no clone. */
  fail(reason: ReplicaError): void {
    if (this.#isOver) return
    this.#write({ kind: 'failed', failure: { code: reason.code, message: reason.message.slice(0, 4096) } })
    this.close()
  }

  close(): void {
    this.#isOver = true
    clearTimeout(this.#deadline)
    this.#listener?.close()
    for (const socket of this.#connections) socket.end()
  }

  #connected(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    if (this.#connections.size >= CONNECTIONS_MAX) {
      socket.destroy()
      return
    }
    this.#connections.add(socket)
    const timer = setTimeout(() => socket.destroy(), HEADER_MS_MAX)
    void this.#read(socket, timer).catch((error: unknown) => {
      const detail = error instanceof Error ? error.message : String(error)
      this.#ended(socket, new ReplicaError('CLONE_BROKEN', `The source of the clone: ${detail}`))
    })
  }

  async #read(socket: Socket, headerTimer: NodeJS.Timeout): Promise<void> {
    const decoder = new CloneDecoder()
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        for (const message of decoder.push(chunk)) {
          if (this.#source === null) clearTimeout(headerTimer)
          await this.#message(socket, message)
        }
      }
    } finally {
      clearTimeout(headerTimer)
    }
    this.#ended(socket, new ReplicaError('CLONE_BROKEN', 'The source of the clone has gone away.'))
  }

  async #message(socket: Socket, message: CloneMessage): Promise<void> {
    if (this.#source !== socket) {
      if (message.kind !== 'header' || this.#source !== null || !this.#isExpected(message.header)) {
        throw new ReplicaError('CLONE_REFUSED', 'this clone is not meant for it')
      }
      this.#source = socket
      clearTimeout(this.#deadline)
      this.#deadline = this.#giveUpAfter(ADMISSION_MS_MAX)
      this.#options.begun(message.header)
      const { sequence, clock, clockRate } = message.header
      this.#cpu?.send({ kind: 'clone-cursor', cursor: { sequence, clock: BigInt(clock), clockRate } })
      return
    }
    switch (message.kind) {
      case 'state':
        return this.#state(message.bytes)
      case 'packed-state':
        return this.#state(await unpack(message.bytes, { maxOutputLength: STATE_BYTES_MAX }))
      case 'end':
        this.#cpu?.send({ kind: 'clone-end' })
        return
      case 'bound':
        this.#isOver = true
        clearTimeout(this.#deadline)
        this.#listener?.close()
        return
      default:
        throw new ReplicaError('CLONE_NONSENSE', `it says ${message.kind}`)
    }
  }

  /** Reads no more from the network than the machine takes in. */
  async #state(bytes: Uint8Array): Promise<void> {
    this.#cpu?.send({ kind: 'clone-state', bytes })
    await this.#cpu?.flushed()
  }

  #isExpected(header: CloneHeader): boolean {
    const { vm, replica, generation } = this.#options
    return header.vm === vm && header.replica === replica && header.generation === generation
  }

  #ended(socket: Socket, reason: ReplicaError): void {
    this.#connections.delete(socket)
    socket.destroy()
    if (socket !== this.#source || this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#deadline)
    this.#options.failed(reason)
  }

  #write(message: CloneMessage): void {
    for (const piece of encodeCloneMessage(message)) this.#source?.write(piece)
  }
}
