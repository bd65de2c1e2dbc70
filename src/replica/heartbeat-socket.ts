/** The UDP socket of the heartbeats. A backup learns where its primary is from the first heartbeat it hears. */
import { createSocket, type Socket } from 'node:dgram'
import { decodeHeartbeat, encodeHeartbeat } from '../ft/heartbeat-codec.ts'
import type { Heartbeat } from '../ft/messages.ts'
import { ReplicaError } from './errors.ts'
import type { HeartbeatRefusal } from './metric-table.ts'

export interface HeartbeatTarget {
  readonly address: string
  readonly port: number
}

export class HeartbeatSocket {
  readonly #socket: Socket
  readonly #vm: string
  readonly #onHeartbeat: (heartbeat: Heartbeat) => void
  readonly #onRefused: (reason: HeartbeatRefusal) => void
  #target: HeartbeatTarget | null = null

  private constructor(
    socket: Socket,
    vm: string,
    onHeartbeat: (heartbeat: Heartbeat) => void,
    onRefused: (reason: HeartbeatRefusal) => void,
  ) {
    this.#socket = socket
    this.#vm = vm
    this.#onHeartbeat = onHeartbeat
    this.#onRefused = onRefused
    socket.on('message', (bytes, sender) => this.#heard(bytes, sender))
    // A heartbeat that cannot be sent is a heartbeat that is not heard: the detector sees it, nobody else needs to.
    socket.on('error', () => {})
  }

  static async open(
    address: string,
    vm: string,
    onHeartbeat: (heartbeat: Heartbeat) => void,
    onRefused: (reason: HeartbeatRefusal) => void = () => {},
  ): Promise<HeartbeatSocket> {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) =>
        reject(new ReplicaError('LISTEN_FAILED', `${address}: ${error.message}`, { cause: error })),
      )
      socket.bind(0, address, resolve)
    })
    socket.removeAllListeners('error')
    return new HeartbeatSocket(socket, vm, onHeartbeat, onRefused)
  }

  get port(): number {
    return this.#socket.address().port
  }

  sendTo(target: HeartbeatTarget): void {
    this.#target = target
  }

  /** Goes nowhere while the peer's address is not known. */
  send(heartbeat: Heartbeat): void {
    if (this.#target === null) return
    this.#socket.send(encodeHeartbeat(heartbeat), this.#target.port, this.#target.address, () => {})
  }

  close(): void {
    this.#socket.close()
  }

  #heard(bytes: Uint8Array, sender: HeartbeatTarget): void {
    let heartbeat: Heartbeat
    try {
      heartbeat = decodeHeartbeat(bytes)
    } catch {
      // Not a heartbeat: anybody can send a datagram here.
      this.#onRefused('malformed')
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
