/**
 * The UDP socket of the heartbeats. A backup learns where its primary is from the first heartbeat it hears. Whoever sends one
 * must have the pair's key, on loopback as well.
 */
import { createSocket, type Socket } from 'node:dgram'
import { decodeHeartbeat, encodeHeartbeat } from '../ft/heartbeat-codec.ts'
import type { Heartbeat } from '../ft/messages.ts'
import { WireError } from '../ft/wire-error.ts'
import type { Refusals } from '../security/refusals.ts'
import { ReplicaError } from './errors.ts'
import type { HeartbeatRefusal } from './metric-table.ts'

export interface HeartbeatTarget {
  readonly address: string
  readonly port: number
}

export interface HeartbeatOptions {
  readonly vm: string
  /** The pair's: PAIR_KEY_BYTES that only its two replicas have. */
  readonly key: Uint8Array
  readonly refusals: Refusals
  onHeartbeat(heartbeat: Heartbeat): void
  /** A datagram was not taken for a heartbeat of the peer. */
  onRefused?(reason: HeartbeatRefusal): void
}

export class HeartbeatSocket {
  readonly #socket: Socket
  readonly #vm: string
  readonly #refusals: Refusals
  readonly #onHeartbeat: (heartbeat: Heartbeat) => void
  readonly #onRefused: (reason: HeartbeatRefusal) => void
  #key: Uint8Array
  #target: HeartbeatTarget | null = null

  private constructor(socket: Socket, options: HeartbeatOptions) {
    const { vm, key, refusals, onHeartbeat, onRefused } = options
    this.#socket = socket
    this.#vm = vm
    this.#key = key
    this.#refusals = refusals
    this.#onHeartbeat = onHeartbeat
    this.#onRefused = onRefused ?? (() => {})
    socket.on('message', (bytes, sender) => this.#heard(bytes, sender))
    // A heartbeat that cannot be sent is a heartbeat that is not heard: the detector sees it, nobody else needs to.
    socket.on('error', () => {})
  }

  static async open(address: string, options: HeartbeatOptions): Promise<HeartbeatSocket> {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) =>
        reject(new ReplicaError('LISTEN_FAILED', `${address}: ${error.message}`, { cause: error })),
      )
      socket.bind(0, address, resolve)
    })
    socket.removeAllListeners('error')
    return new HeartbeatSocket(socket, options)
  }

  get port(): number {
    return this.#socket.address().port
  }

  sendTo(target: HeartbeatTarget): void {
    this.#target = target
  }

  /** From here on this replica is of a pair with that key. */
  useKey(key: Uint8Array): void {
    this.#key = key
  }

  /** Goes nowhere while the peer's address is not known. */
  send(heartbeat: Heartbeat): void {
    if (this.#target === null) return
    this.#socket.send(
      encodeHeartbeat(heartbeat, this.#key),
      this.#target.port,
      this.#target.address,
      () => {},
    )
  }

  /** The protocol had no use for an authentic heartbeat. */
  refused(): void {
    this.#onRefused('replayed')
    this.#refusals.count('heartbeat-replayed', undefined, `of ${this.#vm}`)
  }

  close(): void {
    this.#socket.close()
  }

  #heard(bytes: Uint8Array, sender: HeartbeatTarget): void {
    let heartbeat: Heartbeat
    try {
      heartbeat = decodeHeartbeat(bytes, this.#key)
    } catch (error) {
      // Not a heartbeat: anybody can send a datagram here.
      if (!(error instanceof WireError)) throw error
      this.#onRefused(error.code === 'FT_MESSAGE_FORGED' ? 'forged' : 'malformed')
      this.#refusals.count('heartbeat-forged', `${sender.address} ${sender.port}`, error.code)
      return
    }
    if (heartbeat.vm !== this.#vm) {
      this.#onRefused('other-vm')
      return
    }
    this.#target ??= { address: sender.address, port: sender.port }
    this.#onHeartbeat(heartbeat)
  }
}
