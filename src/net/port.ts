/**
 * A replica's port on the gateway: links up, goes live, carries frames, and links up again when the gateway or
 * the way to it was gone for a while, so that a gateway that is started again costs the guest some frames and no
 * more.
 */
import { connectAt, type NetAccess } from './address.ts'
import { isNetErrorCode, NetError } from './errors.ts'
import { FrameSocket } from './frame-socket.ts'
import {
  CONTROL_BYTES_MAX,
  decodeFromGateway,
  encodeMessage,
  type FromGateway,
  type FromReplica,
  LINK_PROTOCOL,
} from './link.ts'

/** Between attempts to link up again. Short at first: the guest is off the network meanwhile. */
const RECONNECT_DELAY_MS_MIN = 20
const RECONNECT_DELAY_MS_MAX = 1_000

export interface PortOptions extends NetAccess {
  /** The gateway's `linkAddress`. */
  readonly address: string
  readonly vm: string
  /** Names this replica in the gateway's log: host and process id. */
  readonly replica: string
  /** The generation this replica belongs to as it links up. */
  readonly generation: number
  readonly token: string
  /**
   * A frame for the guest; `data` is valid until the call returns. `receipt` counts frames over the port's life;
   * hand it to `taken` once the backup holds the frame too.
   */
  onFrame(data: Uint8Array, receipt: number): void
  /** Another replica is live: this one must halt. Nothing it sends is heard any more. Called once at most. */
  onFenced(reason: string): void
  /** Linked up (again), or not any more, with the reason. For logs and metrics. */
  onLink?(up: boolean, reason: Error | null): void
}

/**
 * Rejects if the gateway refuses the hello (the code says why) or is not there, or is no host of this cluster:
 * NET_GATEWAY_UNREACHABLE. Without an identity at an address that needs one: SECURITY_IDENTITY_MISSING.
 */
export async function connectPort(options: PortOptions): Promise<GatewayPort> {
  const port = new GatewayPort(options)
  await port.linkUp()
  return port
}

interface Waiting {
  resolve(): void
  reject(error: Error): void
}

export class GatewayPort {
  readonly #options: PortOptions
  #socket: FrameSocket | null = null
  #hello: Waiting | null = null
  #goingLive: Waiting | null = null
  /** The generation in which this replica is live, null before. */
  #liveGeneration: number | null = null
  /** The generation in which the gateway was told, on the present link, that this replica is live. */
  #toldGeneration: number | null = null
  #everLinked = false
  #fenced = false
  #closed = false
  #received = 0
  /** Frames received before the present link began: the gateway counts each link from 0. */
  #receivedBeforeLink = 0
  #taken = 0
  #reconnectDelayMs = RECONNECT_DELAY_MS_MIN
  #reconnectTimer: NodeJS.Timeout | null = null

  /** Use `connectPort`. */
  constructor(options: PortOptions) {
    this.#options = options
  }

  get isLinked(): boolean {
    return this.#socket !== null && this.#hello === null
  }

  /** Frames from the gateway so far; also the newest receipt. */
  get receivedFrames(): number {
    return this.#received
  }

  linkUp(): Promise<void> {
    const { address, vm, replica, generation, token } = this.#options
    const socket = new FrameSocket(
      connectAt(address, this.#options),
      {
        frame: (data) => this.#options.onFrame(data, ++this.#received),
        control: (data) => this.#control(decodeFromGateway(data)),
        closed: (reason) => this.#lost(reason),
      },
      CONTROL_BYTES_MAX,
    )
    this.#socket = socket
    this.#receivedBeforeLink = this.#received
    this.#taken = this.#received
    const welcomed = new Promise<void>((resolve, reject) => {
      this.#hello = { resolve, reject }
    })
    const helloGeneration = this.#liveGeneration ?? generation
    this.#tell({ type: 'hello', protocol: LINK_PROTOCOL, vm, replica, generation: helloGeneration, token })
    this.#toldGeneration = null
    this.#tellLive()
    return welcomed
  }

  /**
   * Call after the test-and-set for `generation` was won: from now on this replica is the VM, and frames flow both
   * ways. Frames sent right after the call arrive after it, so nothing needs to wait for the promise. It rejects
   * with NET_GENERATION_OLD or NET_GENERATION_TAKEN if the gateway knows better; the replica must then halt.
   */
  goLive(generation: number): Promise<void> {
    this.#liveGeneration = generation
    this.#goingLive?.reject(
      new NetError('NET_GENERATION_OLD', `went live in generation ${generation} meanwhile`),
    )
    const confirmed = new Promise<void>((resolve, reject) => {
      this.#goingLive = { resolve, reject }
    })
    // Not everybody waits for it: a refusal also reaches onFenced.
    confirmed.catch(() => {})
    if (this.isLinked) {
      this.#toldGeneration = null
      this.#tellLive()
    }
    return confirmed
  }

  /** Whether the frame was queued; false while the link is down or the gateway reads too slowly. */
  send(frame: Uint8Array): boolean {
    return this.isLinked && this.#socket!.send(frame)
  }

  /** All frames up to this receipt are safe: the gateway need not deliver them to the next live replica. */
  taken(receipt: number): void {
    if (receipt <= this.#taken || !this.isLinked) return
    this.#taken = receipt
    this.#tell({ type: 'taken', frames: receipt - this.#receivedBeforeLink })
  }

  close(): void {
    this.#closed = true
    if (this.#reconnectTimer !== null) clearTimeout(this.#reconnectTimer)
    this.#socket?.close({ flush: true })
    this.#goingLive?.reject(new NetError('NET_GATEWAY_UNREACHABLE', 'the port was closed'))
    this.#goingLive = null
  }

  #tellLive(): void {
    if (this.#liveGeneration === this.#toldGeneration || this.#liveGeneration === null) return
    this.#toldGeneration = this.#liveGeneration
    this.#tell({ type: 'live', generation: this.#liveGeneration })
  }

  #tell(message: FromReplica): void {
    this.#socket?.sendControl(encodeMessage(message))
  }

  #control(message: FromGateway): void {
    switch (message.type) {
      case 'welcome':
        this.#reconnectDelayMs = RECONNECT_DELAY_MS_MIN
        this.#everLinked = true
        this.#hello?.resolve()
        this.#hello = null
        // It may have gone live while it linked up.
        this.#tellLive()
        this.#options.onLink?.(true, null)
        return
      case 'live':
        if (message.generation !== this.#liveGeneration) return
        this.#goingLive?.resolve()
        this.#goingLive = null
        return
      case 'fenced':
        this.#becomeFenced(`generation ${message.generation} went live`)
        return
      case 'refused':
        this.#refused(message.code, message.message)
        return
    }
  }

  #refused(code: string, message: string): void {
    const error = new NetError(isNetErrorCode(code) ? code : 'NET_CONTROL_MALFORMED', message)
    if (this.#everLinked && (error.code === 'NET_GENERATION_OLD' || error.code === 'NET_GENERATION_TAKEN')) {
      this.#becomeFenced(message)
    }
    this.#hello?.reject(error)
    this.#goingLive?.reject(error)
    this.#hello = null
    this.#goingLive = null
    this.#socket?.close({ reason: error })
  }

  #becomeFenced(reason: string): void {
    if (this.#fenced) return
    this.#fenced = true
    this.#options.onFenced(reason)
  }

  #lost(reason: Error | null): void {
    const wasLinked = this.isLinked
    this.#socket = null
    this.#hello?.reject(
      new NetError(
        'NET_GATEWAY_UNREACHABLE',
        `no link to the gateway at ${this.#options.address}: ${reason?.message ?? 'closed'}`,
      ),
    )
    this.#hello = null
    if (wasLinked) this.#options.onLink?.(false, reason)
    // Before the first link was up, trying again is the caller's business.
    if (this.#closed || this.#fenced || !this.#everLinked) return
    this.#reconnectTimer = setTimeout(() => void this.linkUp().catch(() => {}), this.#reconnectDelayMs)
    this.#reconnectDelayMs = Math.min(2 * this.#reconnectDelayMs, RECONNECT_DELAY_MS_MAX)
  }
}
