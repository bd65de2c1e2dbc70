/**
 * The gateway: the physical network of a cluster that has none. It runs in a process of its own, outside every
 * host, so that published ports and the connections through them outlive any replica.
 *
 * Each VM has a segment of its own (`segment.ts`) with a passt behind it (`uplink.ts`); two VMs never see each
 * other's frames, and each guest finds the same addresses. This file is the shell around those: it accepts links
 * and carries frames between sockets and segments. Nothing a peer sends reaches further than its own socket
 * before its hello has been checked.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { z } from 'zod'
import type { Identity } from '../security/identity.ts'
import { type RefusalCounts, Refusals } from '../security/refusals.ts'
import { isSameSecret } from '../security/tokens.ts'
import { listenAt, type NetAccess, serverAt } from './address.ts'
import { NetError } from './errors.ts'
import { FrameSocket } from './frame-socket.ts'
import {
  CONTROL_BYTES_MAX,
  decodeFromReplica,
  encodeMessage,
  type FromGateway,
  type FromReplica,
  HELLO_TIMEOUT_MS,
  type Hello,
  tokenSchema,
  vmNameSchema,
} from './link.ts'
import type { PublishedPort } from './passt.ts'
import { claimPorts } from './publishing.ts'
import { FIRST_LINK, type LinkId, Segment, type SegmentCounters } from './segment.ts'
import { Uplink } from './uplink.ts'

/** One passt process each; a host has room for no more VMs than this in any case. */
export const SEGMENTS_MAX = 256

/** Primary, backup, the next backup, and some that have not noticed yet that they are gone. */
export const LINKS_PER_SEGMENT_MAX = 16

/** Connections that have not said hello: bounds what a port scanner or a lost client can hold. */
export const STRANGERS_MAX = 64

const PUBLISHED_PORTS_MAX = 64

/** What `pino` offers, as far as the gateway uses it. */
export interface GatewayLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

const portSchema = z.int().min(0).max(65_535)

export const segmentRequestSchema = z.strictObject({
  vm: vmNameSchema,
  /** What replicas must present; made up if absent. */
  token: tokenSchema.optional(),
  publish: z
    .array(
      z.strictObject({
        hostAddress: z.ipv4().default('127.0.0.1'),
        /** 0 takes any free port; the answer says which. */
        hostPort: portSchema,
        guestPort: portSchema.min(1),
      }),
    )
    .max(PUBLISHED_PORTS_MAX)
    .default([]),
  /** Also listen for a peer that speaks plain stream framing, QEMU for instance. It joins the segment unchecked. */
  plainPort: z.boolean().default(false),
})

export type SegmentRequest = z.input<typeof segmentRequestSchema>

export interface SegmentInfo extends SegmentCounters {
  readonly vm: string
  readonly publish: readonly PublishedPort[]
  /** Where plain peers connect, or null. */
  readonly plainAddress: string | null
  /** Plain peers now connected. */
  readonly plainPeers: number
  readonly liveGeneration: number | null
  /** The replica that is live, as its hello named it, or null. */
  readonly live: string | null
  readonly links: readonly LinkInfo[]
  readonly passtPid: number | null
  readonly passtRestarts: number
  /** Frames for the world outside that passt did not take or was not there to take. */
  readonly uplinkDropped: number
}

export interface LinkInfo {
  readonly replica: string
  readonly generation: number
  readonly sentFrames: number
  readonly receivedFrames: number
  /** Frames dropped because the replica read too slowly. */
  readonly droppedFrames: number
}

export interface GatewayOptions {
  /** For Unix sockets; must exist. */
  readonly dir: string
  /** Where replicas link up, as `address.ts` has it, port 0 for any. By default a Unix socket in `dir`. */
  readonly linkAddress?: string
  /** Of the host this is on; needed where replicas of other hosts shall link up. */
  readonly identity?: Identity | null
  readonly log: GatewayLog
}

interface Link {
  readonly hello: Hello
  readonly socket: FrameSocket
}

interface SegmentEntry {
  readonly segment: Segment
  readonly token: string
  readonly publish: readonly PublishedPort[]
  readonly uplink: Uplink
  readonly links: Map<LinkId, Link>
  readonly plainPorts: Map<LinkId, FrameSocket>
  plainServer: Server | null
  plainAddress: string | null
}

/** Rejects with NET_ADDRESS_INVALID, NET_LISTEN_FAILED, SECURITY_IDENTITY_MISSING or SECURITY_PLAIN_REFUSED. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const gateway = new Gateway(options)
  await gateway.listen(options.linkAddress ?? `unix:${join(options.dir, 'links.sock')}`)
  return gateway
}

export class Gateway {
  readonly #dir: string
  readonly #log: GatewayLog
  /** As whom it lets replicas, and agents on its control, connect. */
  readonly access: NetAccess
  /** By VM name; null while the segment is being made. */
  readonly #segments = new Map<string, SegmentEntry | null>()
  readonly #strangers = new Set<FrameSocket>()
  #server: Server | null = null
  #linkAddress = ''
  #nextLink: LinkId = FIRST_LINK

  /** Use `startGateway`. */
  constructor({ dir, log, identity = null }: GatewayOptions) {
    this.#dir = dir
    this.#log = log
    this.access = { identity, refusals: new Refusals(log) }
  }

  /** Where replicas link up, in the form `connectPort` takes. */
  get linkAddress(): string {
    return this.#linkAddress
  }

  /** What was refused so far, by reason. */
  get refusals(): RefusalCounts {
    return this.access.refusals.counts()
  }

  async listen(address: string): Promise<void> {
    this.#server = serverAt(address, this.access, (socket) => this.#welcome(socket))
    this.#linkAddress = await listenAt(this.#server, address)
  }

  /**
   * Makes the segment of a VM and starts its passt. Rejects with NET_REQUEST_INVALID, NET_SEGMENT_EXISTS,
   * NET_SEGMENTS_TOO_MANY, NET_PORT_IN_USE, NET_PORT_FORBIDDEN, or what `Passt.ready` rejects with.
   */
  async addSegment(request: SegmentRequest): Promise<SegmentInfo & { readonly token: string }> {
    const wanted = parseRequest(request)
    const { vm, token = randomBytes(32).toString('hex') } = wanted
    if (this.#segments.has(vm)) throw new NetError('NET_SEGMENT_EXISTS', `VM ${vm} has a segment already`)
    if (this.#segments.size >= SEGMENTS_MAX)
      throw new NetError('NET_SEGMENTS_TOO_MANY', `there are ${SEGMENTS_MAX} segments`)
    this.#segments.set(vm, null)
    let entry: SegmentEntry | null = null
    try {
      const publish = await claimPorts(wanted.publish)
      entry = this.#makeEntry(token, publish)
      await entry.uplink.start()
      if (wanted.plainPort) await this.#openPlainPort(vm, entry)
      this.#segments.set(vm, entry)
      const info = this.#info(vm, entry)
      this.#log.info({ vm, publish, passt: info.passtPid }, 'segment added')
      return { ...info, token }
    } catch (error) {
      this.#segments.delete(vm)
      await entry?.uplink.stop()
      throw error
    }
  }

  /** Closes the segment's links and ends its passt. Rejects with NET_SEGMENT_UNKNOWN. */
  async removeSegment(vm: string): Promise<void> {
    const entry = this.#segments.get(vm)
    if (!entry) throw new NetError('NET_SEGMENT_UNKNOWN', `VM ${vm} has no segment`)
    this.#segments.delete(vm)
    for (const { socket } of entry.links.values()) socket.close()
    for (const socket of entry.plainPorts.values()) socket.close()
    entry.plainServer?.close()
    await entry.uplink.stop()
    this.#log.info({ vm }, 'segment removed')
  }

  listSegments(): SegmentInfo[] {
    return [...this.#segments].flatMap(([vm, entry]) => (entry === null ? [] : [this.#info(vm, entry)]))
  }

  async close(): Promise<void> {
    this.#server?.close()
    for (const stranger of this.#strangers) stranger.close()
    await Promise.all(this.listSegments().map(({ vm }) => this.removeSegment(vm)))
  }

  #makeEntry(token: string, publish: readonly PublishedPort[]): SegmentEntry {
    const links = new Map<LinkId, Link>()
    const plainPorts = new Map<LinkId, FrameSocket>()
    const tell = (id: LinkId, message: FromGateway) => {
      const link = links.get(id)
      if (link !== undefined) sendMessage(link.socket, message)
    }
    const segment = new Segment({
      toUplink: (frame) => uplink.send(frame),
      toPlainPort: (id, frame) => plainPorts.get(id)?.send(frame),
      toLink: (id, frame) => links.get(id)?.socket.send(frame) ?? false,
      wentLive: (id, generation) => tell(id, { type: 'live', generation }),
      fenced: (id, generation) => tell(id, { type: 'fenced', generation }),
    })
    const uplink = new Uplink(publish, (frame) => segment.fromUplink(frame, performance.now()), this.#log)
    return { segment, token, publish, uplink, links, plainPorts, plainServer: null, plainAddress: null }
  }

  /** A connection is a stranger until its hello was accepted. */
  #welcome(socket: Socket): void {
    const from = socket.remoteAddress
    let link: { readonly id: LinkId; readonly entry: SegmentEntry; readonly hello: Hello } | null = null
    const stranger = new FrameSocket(
      socket,
      {
        frame: (data) => {
          if (link === null) throw new NetError('NET_HELLO_MISSING', 'a frame before the hello')
          link.entry.segment.fromLink(link.id, data, performance.now())
        },
        control: (data) => {
          const message = decodeFromReplica(data)
          if (link !== null) this.#control(link.entry, link.id, link.hello, message)
          else if (message.type === 'hello') link = this.#attach(stranger, message, from)
          else throw new NetError('NET_HELLO_MISSING', `${message.type} before the hello`)
          if (link !== null) this.#admitted(stranger, helloTimer)
        },
        closed: (reason) => {
          this.#admitted(stranger, helloTimer)
          if (link !== null) this.#detach(link.entry, link.id, link.hello, reason)
          else if (reason !== null) this.#log.warn({ reason: reason.message }, 'a connection was no link')
        },
      },
      CONTROL_BYTES_MAX,
    )
    const helloTimer = setTimeout(() => {
      stranger.close({ reason: new NetError('NET_HELLO_MISSING', `no hello within ${HELLO_TIMEOUT_MS} ms`) })
    }, HELLO_TIMEOUT_MS)
    this.#strangers.add(stranger)
    if (this.#strangers.size > STRANGERS_MAX) {
      const [oldest] = this.#strangers
      oldest!.close({
        reason: new NetError('NET_LINKS_TOO_MANY', `over ${STRANGERS_MAX} connections without a hello`),
      })
    }
  }

  #admitted(socket: FrameSocket, helloTimer: NodeJS.Timeout): void {
    clearTimeout(helloTimer)
    this.#strangers.delete(socket)
  }

  /** Null if the hello was refused; the replica is then told why, and the connection closed. */
  #attach(
    socket: FrameSocket,
    hello: Hello,
    from: string | undefined,
  ): { id: LinkId; entry: SegmentEntry; hello: Hello } | null {
    try {
      const entry = this.#checkHello(hello, from)
      const id = this.#nextLink++
      entry.segment.attach(id, hello.generation)
      entry.links.set(id, { hello, socket })
      sendMessage(socket, { type: 'welcome', liveGeneration: entry.segment.liveGeneration })
      this.#log.info(
        { vm: hello.vm, replica: hello.replica, generation: hello.generation },
        'replica linked up',
      )
      return { id, entry, hello }
    } catch (error) {
      if (!(error instanceof NetError)) throw error
      this.#refuse(socket, error)
      return null
    }
  }

  #checkHello({ vm, token }: Hello, from: string | undefined): SegmentEntry {
    const entry = this.#segments.get(vm)
    if (!entry) throw new NetError('NET_SEGMENT_UNKNOWN', `VM ${vm} has no segment`)
    if (!isSameSecret(token, entry.token)) {
      this.access.refusals.count('wrong-token', from, `link of VM ${vm}`)
      throw new NetError('NET_TOKEN_WRONG', `the token is not that of VM ${vm}`)
    }
    if (entry.links.size >= LINKS_PER_SEGMENT_MAX) {
      throw new NetError('NET_LINKS_TOO_MANY', `VM ${vm} has ${LINKS_PER_SEGMENT_MAX} links`)
    }
    return entry
  }

  #control(entry: SegmentEntry, id: LinkId, hello: Hello, message: FromReplica): void {
    const { vm, replica } = hello
    if (message.type === 'hello') throw new NetError('NET_CONTROL_MALFORMED', 'a second hello')
    if (message.type === 'taken') {
      entry.segment.taken(id, message.frames)
      return
    }
    const { socket } = entry.links.get(id)!
    try {
      const { generation } = message
      const before = entry.segment.counters.redelivered
      entry.segment.goLive(id, generation, performance.now())
      this.#log.info(
        { vm, replica, generation, redelivered: entry.segment.counters.redelivered - before },
        'replica went live',
      )
    } catch (error) {
      if (!(error instanceof NetError)) throw error
      this.#log.warn(
        { vm, replica, generation: message.generation, code: error.code },
        'replica was refused to go live',
      )
      this.#refuse(socket, error)
    }
  }

  #refuse(socket: FrameSocket, { code, message }: NetError): void {
    sendMessage(socket, { type: 'refused', code, message })
    socket.close({ flush: true })
  }

  #detach(entry: SegmentEntry, id: LinkId, { vm, replica }: Hello, reason: Error | null): void {
    entry.segment.detach(id)
    entry.links.delete(id)
    this.#log.info({ vm, replica, reason: reason?.message ?? null }, 'replica is gone')
  }

  async #openPlainPort(vm: string, entry: SegmentEntry): Promise<void> {
    entry.plainServer = createServer((socket) => {
      const id = this.#nextLink++
      const port = new FrameSocket(socket, {
        frame: (data) => entry.segment.fromPlainPort(id, data, performance.now()),
        closed: (reason) => {
          entry.segment.removePlainPort(id)
          entry.plainPorts.delete(id)
          if (reason !== null) this.#log.warn({ vm, reason: reason.message }, 'plain port closed')
        },
      })
      if (entry.plainPorts.size >= LINKS_PER_SEGMENT_MAX) return port.close()
      entry.plainPorts.set(id, port)
      entry.segment.addPlainPort(id)
    })
    entry.plainAddress = await listenAt(entry.plainServer, `unix:${join(this.#dir, `${vm}.plain.sock`)}`)
  }

  #info(vm: string, entry: SegmentEntry): SegmentInfo {
    const { segment, uplink } = entry
    return {
      vm,
      publish: entry.publish,
      plainAddress: entry.plainAddress,
      plainPeers: entry.plainPorts.size,
      liveGeneration: segment.liveGeneration,
      live: segment.live === null ? null : entry.links.get(segment.live)!.hello.replica,
      links: [...entry.links.values()].map(({ hello, socket }) => ({
        replica: hello.replica,
        generation: hello.generation,
        sentFrames: socket.sentFrames,
        receivedFrames: socket.receivedFrames,
        droppedFrames: socket.droppedFrames,
      })),
      passtPid: uplink.pid,
      passtRestarts: uplink.restarts,
      uplinkDropped: uplink.droppedFrames + uplink.queueDroppedFrames,
      ...segment.counters,
    }
  }
}

function sendMessage(socket: FrameSocket, message: FromGateway): void {
  socket.sendControl(encodeMessage(message))
}

function parseRequest(request: SegmentRequest): z.output<typeof segmentRequestSchema> {
  const result = segmentRequestSchema.safeParse(request)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw new NetError('NET_REQUEST_INVALID', `${issue.path.join('.') || 'the request'}: ${issue.message}`)
}
