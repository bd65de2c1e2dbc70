/**
 * One `passt` process: user-mode NAT and port publisher of one segment. It needs no privileges, translates
 * between the guest's frames and ordinary sockets of this host, and so holds the clients' connections while
 * replicas come and go.
 *
 * It listens at a path in a directory that only it and we can enter, takes one connection, and ends with that: so it
 * ends by itself when the gateway does, however that ends. A socket pair that it inherits would do the same with less;
 * but passt makes the send buffer as large as the host allows only of a connection it accepted, and in the usual one
 * of 208 KiB a burst does not fit: passt then loses frames and repairs that by sending the whole window again.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { NetError } from './errors.ts'
import { FrameSocket } from './frame-socket.ts'
import { WindowLimit } from './window-limit.ts'

/** What every guest sees, whichever host it runs on: the addresses of QEMU's user-mode network. */
export const GUEST_IPV4 = '10.0.2.15'
export const GATEWAY_IPV4 = '10.0.2.2'
export const NAME_SERVER_IPV4 = '10.0.2.3'
export const NETMASK_BITS = 24

/**
 * Every guest's in a cluster, as its IP address: each is alone on its segment. Known before the guest has said anything, so that a
 * connection that came first finds it.
 */
export const GUEST_MAC = new Uint8Array([0x52, 0x54, 0x00, 0x00, 0x02, 0x0f])

/** Fixed, so that a guest's neighbour table stays right when passt is started again. */
export const GATEWAY_MAC = new Uint8Array([0x52, 0x55, 0x0a, 0x00, 0x02, 0x02])

/** What the guest's network card advises too (src/machine/devices/virtio-net): segments as large as IP packets. */
export const MTU_BYTES = 65_520

/** passt answers within milliseconds; a loaded host may need longer to start it. */
const READY_TIMEOUT_MS = 10_000

/** Bounds what is kept of passt's own words for error messages. */
const MESSAGE_CHARS_MAX = 2_000

/** Between attempts to connect: passt tells nobody when it listens, which takes it some milliseconds. */
const CONNECT_DELAY_MS = 2

/** passt started by root runs as this user (passt(1), --runas), and must be able to make its socket. */
const NOBODY_ID = 65_534

/** What passt says to everybody, or about a system log that containers do not have. */
const NOISE =
  /^(Failed to send \d+ bytes to syslog|Don't run as root\. Changing to nobody\.\.\.|UNIX domain socket bound at .*|You can now start qemu.*|kvm \.\.\. .*|or qrap, .*|\.\/qrap .*|)$/

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
  readonly #directory = mkdtempSync(join(tmpdir(), 'understudy-passt-'))
  readonly #child: ChildProcess
  readonly #guestMac: Uint8Array
  readonly #events: PasstEvents
  readonly #exited: Promise<void>
  #said = ''
  #stopping = false
  #ready: (() => void) | null = null
  #socket: FrameSocket | null = null
  readonly #windows = new WindowLimit()

  /** `guestMac` is the network card's: passt believes it until the guest says something itself. */
  constructor(published: readonly PublishedPort[], guestMac: Uint8Array, events: PasstEvents) {
    this.#guestMac = guestMac
    this.#events = events
    if (process.getuid?.() === 0) giveToNobody(this.#directory)
    // A session of its own: Ctrl-C at a terminal is for the gateway to handle, not for the clients' connections.
    this.#child = spawn('passt', passtArguments(this.#path, published), {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => this.#listen(text))
    this.#exited = new Promise((resolve) => {
      this.#child.on('error', () => resolve())
      this.#child.on('close', () => resolve())
    })
    void this.#exited.then(() => this.#forget())
  }

  /** Sends a frame, whose receive window may be changed in place (`window-limit.ts`). Only after `ready`. */
  send(frame: Uint8Array): void {
    if (this.#socket === null) throw new Error('passt is not connected yet')
    if (this.#windows.admits(frame, performance.now())) this.#socket.send(frame)
  }

  /** Frames that passt did not take in time. */
  get droppedFrames(): number {
    return this.#socket?.droppedFrames ?? 0
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
    void this.#connect().then((socket) => {
      if (socket === null) return
      this.#forget()
      this.#socket = this.#framesOn(socket)
      this.#socket.send(probe(this.#guestMac))
    })
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
    if (this.#socket === null) this.#child.kill()
    else this.#socket.close()
    await this.#exited
  }

  get #path(): string {
    return join(this.#directory, 'socket')
  }

  /** Null when passt ended before it listened. */
  async #connect(): Promise<Socket | null> {
    let ended = false
    void this.#exited.then(() => {
      ended = true
    })
    while (!ended) {
      const socket = createConnection(this.#path)
      const connected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true))
        socket.once('error', () => resolve(false))
      })
      if (connected) return socket.removeAllListeners('error')
      await delay(CONNECT_DELAY_MS)
    }
    return null
  }

  #framesOn(socket: Socket): FrameSocket {
    return new FrameSocket(socket, {
      frame: (data) => {
        // A client may be quicker than the answer to the probe, and passt asks the guest for a connection only once.
        if (this.#ready !== null && isProbeAnswer(data)) this.#ready()
        else this.#events.frame(data)
      },
      closed: () => this.#child.kill(),
    })
  }

  /** The path is of no use once it is connected, or passt is gone. */
  #forget(): void {
    rmSync(this.#directory, { recursive: true, force: true })
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

/** In a user namespace that knows no user but root there is nobody to give it to, and passt stays root. */
function giveToNobody(path: string): void {
  try {
    chownSync(path, NOBODY_ID, NOBODY_ID)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
  }
}

function passtArguments(path: string, published: readonly PublishedPort[]): string[] {
  const forward = published.flatMap(({ hostAddress, hostPort, guestPort }) => [
    '-t',
    `${hostAddress}/${hostPort}:${guestPort}`,
  ])
  return [
    ...['--foreground', '--quiet', '--socket', path, '--one-off', '--ipv4-only'],
    ...['--address', GUEST_IPV4, '--netmask', String(NETMASK_BITS), '--gateway', GATEWAY_IPV4],
    ...['--mac-addr', Array.from(GATEWAY_MAC, (byte) => byte.toString(16).padStart(2, '0')).join(':')],
    ...['--mtu', String(MTU_BYTES), '--dns-forward', NAME_SERVER_IPV4],
    // Otherwise guests reach what listens on this host's loopback, the control sockets of the cluster among it.
    '--no-map-gw',
    ...forward,
  ]
}

const ARP_REPLY = 2
const ETHERTYPE_ARP = 0x0806

/**
 * An ARP probe (RFC 5227, 2.1.1) for the gateway's address: asks without claiming an address of its own. passt
 * takes the source of any frame for the guest's MAC. Without one it would send to everybody, and to a TCP segment that
 * was sent to everybody no guest listens.
 */
function probe(guestMac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(42)
  const view = new DataView(frame.buffer)
  frame.fill(0xff, 0, 6)
  frame.set(guestMac, 6)
  view.setUint16(12, ETHERTYPE_ARP)
  frame.set([0, 1, 8, 0, 6, 4, 0, 1], 14)
  frame.set(guestMac, 22)
  frame.set(GATEWAY_IPV4.split('.').map(Number), 38)
  return frame
}

function isProbeAnswer(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  return frame.length >= 42 && view.getUint16(12) === ETHERTYPE_ARP && view.getUint16(20) === ARP_REPLY
}
