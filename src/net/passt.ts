/**
 * One `passt` process: user-mode NAT and port publisher of one segment. It needs no privileges, translates
 * between the guest's frames and ordinary sockets of this host, and so holds the clients' connections while
 * replicas come and go.
 *
 * It inherits one end of a socket pair instead of listening at a path: nobody else can connect, there is nothing
 * to clean up, and passt ends by itself when the gateway does, however that ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { NetError } from './errors.ts'
import { FrameSocket } from './frame-socket.ts'

/** What every guest sees, whichever host it runs on: the addresses of QEMU's user-mode network. */
export const GUEST_IPV4 = '10.0.2.15'
export const GATEWAY_IPV4 = '10.0.2.2'
export const NAME_SERVER_IPV4 = '10.0.2.3'
export const NETMASK_BITS = 24

/** Fixed, so that a guest's neighbour table stays right when passt is started again. */
export const GATEWAY_MAC = new Uint8Array([0x52, 0x55, 0x0a, 0x00, 0x02, 0x02])

/** The guest's Ethernet interface has the usual MTU; larger frames need features its driver may lack. */
const MTU_BYTES = 1500

/** passt answers within milliseconds; a loaded host may need longer to start it. */
const READY_TIMEOUT_MS = 10_000

/** Bounds what is kept of passt's own words for error messages. */
const MESSAGE_CHARS_MAX = 2_000

/** What passt says to everybody, or about a system log that containers do not have. */
const NOISE = /^(Failed to send \d+ bytes to syslog|Don't run as root\. Changing to nobody\.\.\.|)$/

export interface PublishedPort {
  /** An IPv4 address of this host; 127.0.0.1 keeps the port private to it. */
  readonly hostAddress: string
  readonly hostPort: number
  readonly guestPort: number
}

export interface PasstEvents {
  frame(data: Uint8Array): void
  /** It ended, though nobody asked it to; `message` is what it said last. */
  died(message: string): void
}

export class Passt {
  readonly socket: FrameSocket
  readonly #child: ChildProcess
  readonly #events: PasstEvents
  readonly #exited: Promise<void>
  #said = ''
  #stopping = false
  #ready: (() => void) | null = null

  constructor(published: readonly PublishedPort[], events: PasstEvents) {
    this.#events = events
    // A session of its own: Ctrl-C at a terminal is for the gateway to handle, not for the clients' connections.
    this.#child = spawn('passt', passtArguments(published), {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      detached: true,
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => this.#listen(text))
    this.#exited = new Promise((resolve) => {
      this.#child.on('error', () => resolve())
      this.#child.on('close', () => resolve())
    })
    this.socket = new FrameSocket(asSocket(this.#child.stdio[3]), {
      frame: (data) => {
        if (this.#ready === null) events.frame(data)
        else if (isProbeAnswer(data)) this.#ready()
      },
      closed: () => this.#child.kill(),
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Resolves once passt forwards frames and its ports listen. Rejects with NET_PASST_MISSING, NET_PASST_FAILED or NET_PORT_IN_USE. */
  async ready(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill(), READY_TIMEOUT_MS)
    const answered = new Promise<'ready'>((resolve) => {
      this.#ready = () => resolve('ready')
    })
    const failed = new Promise<NodeJS.ErrnoException | null>((resolve) => {
      this.#child.on('error', resolve)
      this.#child.on('close', () => resolve(null))
    })
    this.socket.send(probe())
    const outcome = await Promise.race([answered, failed])
    clearTimeout(timer)
    this.#ready = null
    if (outcome !== 'ready') throw this.#failure(outcome)
    this.#exited.then(() => {
      if (!this.#stopping) this.#events.died(this.#lastWords())
    })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.socket.close()
    await this.#exited
  }

  #listen(text: string): void {
    this.#said = (this.#said + text).slice(-MESSAGE_CHARS_MAX)
  }

  #lastWords(): string {
    return this.#said
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => !NOISE.test(line))
      .join('; ')
  }

  #failure(spawnError: NodeJS.ErrnoException | null): NetError {
    if (spawnError !== null) {
      const missing = spawnError.code === 'ENOENT'
      return new NetError(
        missing ? 'NET_PASST_MISSING' : 'NET_PASST_FAILED',
        `passt does not start: ${spawnError.message}`,
      )
    }
    const words = this.#lastWords()
    // The gateway tries the ports before; between that and this somebody else may have taken one.
    const inUse = /Failed to bind any port/.test(words)
    return new NetError(
      inUse ? 'NET_PORT_IN_USE' : 'NET_PASST_FAILED',
      `passt ended while starting: ${words || 'it said nothing'}`,
    )
  }
}

function passtArguments(published: readonly PublishedPort[]): string[] {
  const forward = published.flatMap(({ hostAddress, hostPort, guestPort }) => [
    '-t',
    `${hostAddress}/${hostPort}:${guestPort}`,
  ])
  return [
    ...['--foreground', '--quiet', '--fd', '3', '--ipv4-only'],
    ...['--address', GUEST_IPV4, '--netmask', String(NETMASK_BITS), '--gateway', GATEWAY_IPV4],
    ...['--mac-addr', Array.from(GATEWAY_MAC, (byte) => byte.toString(16).padStart(2, '0')).join(':')],
    ...['--mtu', String(MTU_BYTES), '--dns-forward', NAME_SERVER_IPV4],
    // Otherwise guests reach what listens on this host's loopback, the control sockets of the cluster among it.
    '--no-map-gw',
    ...forward,
  ]
}

/** Node makes the socket pair and gives our end back as a net.Socket, typed as less than it is. */
function asSocket(stream: Duplex | NodeJS.ReadableStream | NodeJS.WritableStream | null | undefined): Socket {
  if (stream instanceof Socket) return stream
  throw new Error('the fourth standard stream of a child is not a socket')
}

const ARP_REPLY = 2
const ETHERTYPE_ARP = 0x0806

/**
 * An ARP probe (RFC 5227, 2.1.1) for the gateway's address: asks without claiming an address of its own. passt
 * takes the source of any frame for the guest's MAC; broadcast is what it assumes before it heard the guest.
 */
function probe(): Uint8Array {
  const frame = new Uint8Array(42)
  const view = new DataView(frame.buffer)
  const sender = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
  frame.fill(0xff, 0, 6)
  frame.set(sender, 6)
  view.setUint16(12, ETHERTYPE_ARP)
  frame.set([0, 1, 8, 0, 6, 4, 0, 1], 14)
  frame.set(sender, 22)
  frame.set(GATEWAY_IPV4.split('.').map(Number), 38)
  return frame
}

function isProbeAnswer(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  return frame.length >= 42 && view.getUint16(12) === ETHERTYPE_ARP && view.getUint16(20) === ARP_REPLY
}
