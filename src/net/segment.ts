/**
 * The Ethernet segment of one VM, as a pure state machine: which frame goes where, and who may send.
 *
 * The VM is one port of a learning switch. Behind that port may be several replicas, each on its own link; one
 * of them is live. Fencing is the invariant here: once a generation went live, no link of an older one is ever
 * heard again, whatever a host does that was paused for an hour and wakes up. The uplink (passt) and plain
 * ports (QEMU or anything else that speaks the stream framing) are further ports.
 */
import { NetError } from './errors.ts'
import { RedeliveryBuffer } from './redelivery.ts'
import { LearningSwitch, type SwitchPort } from './switch.ts'

/** Links and plain ports are numbered by the caller, in one sequence, from FIRST_LINK on. */
export type LinkId = number

const UPLINK: SwitchPort = 0
const MACHINE: SwitchPort = 1
export const FIRST_LINK: LinkId = 2

/** What a segment wants done. `frame` arguments are valid until the call returns. */
export interface SegmentSink {
  toUplink(frame: Uint8Array): void
  toPlainPort(id: LinkId, frame: Uint8Array): void
  /** Whether the frame was queued; false if the link is too slow and the frame is dropped. */
  toLink(id: LinkId, frame: Uint8Array): boolean
  /** The link is live in `generation`; the frames it must have follow. */
  wentLive(id: LinkId, generation: number): void
  /** The link was live and no longer is: tell its replica that `generation` took over. */
  fenced(id: LinkId, generation: number): void
}

export interface SegmentCounters {
  /** Frames of replicas that were not live: of backups, and of a primary after it was fenced. */
  notLiveDropped: number
  /** Frames given to a replica that went live because the one before may have lost them. */
  redelivered: number
  takeovers: number
}

export class Segment {
  readonly counters: SegmentCounters = { notLiveDropped: 0, redelivered: 0, takeovers: 0 }
  readonly #sink: SegmentSink
  readonly #ethernet = new LearningSwitch()
  readonly #redelivery = new RedeliveryBuffer()
  readonly #links = new Set<LinkId>()
  #live: LinkId | null = null
  #liveGeneration: number | null = null
  /** Frames delivered on the link that is live. */
  #delivered = 0

  constructor(sink: SegmentSink) {
    this.#sink = sink
    this.#ethernet.addPort(UPLINK)
    this.#ethernet.addPort(MACHINE)
  }

  /** The newest generation that ever went live here, or null. */
  get liveGeneration(): number | null {
    return this.#liveGeneration
  }

  get live(): LinkId | null {
    return this.#live
  }

  get linkCount(): number {
    return this.#links.size
  }

  /** A replica linked up. Throws NET_GENERATION_OLD if a newer generation went live already. */
  attach(link: LinkId, generation: number): void {
    this.#refuseOld(generation)
    this.#links.add(link)
  }

  detach(link: LinkId): void {
    this.#links.delete(link)
    if (this.#live === link) this.#live = null
  }

  /**
   * The replica won the test-and-set for `generation` and is the machine now. It gets the frames that may have
   * been lost, through the sink, before this returns. Throws NET_GENERATION_OLD, or NET_GENERATION_TAKEN if
   * another link is live in the same generation, which two winners of one test-and-set would be.
   */
  goLive(link: LinkId, generation: number, nowMs: number): void {
    if (!this.#links.has(link)) throw new Error(`link ${link} goes live without being attached`)
    this.#refuseOld(generation)
    const before = this.#live
    if (before !== null && before !== link && generation === this.#liveGeneration) {
      throw new NetError('NET_GENERATION_TAKEN', `another replica is live in generation ${generation}`)
    }
    // A primary that goes on alone wins a new generation too, on the link it has; that takes nothing over.
    if (before !== link && this.#liveGeneration !== null && generation > this.#liveGeneration)
      this.counters.takeovers++
    this.#live = link
    this.#liveGeneration = generation
    if (before !== null && before !== link) this.#sink.fenced(before, generation)
    this.#sink.wentLive(link, generation)
    if (before !== link) this.#redeliver(nowMs)
  }

  /** Of the frames delivered on this link the first `frames` are safe. A link that is not live may say so too late. */
  taken(link: LinkId, frames: number): void {
    if (link === this.#live) this.#redelivery.taken(frames)
  }

  addPlainPort(id: LinkId): void {
    this.#ethernet.addPort(id)
  }

  removePlainPort(id: LinkId): void {
    this.#ethernet.removePort(id)
  }

  fromLink(link: LinkId, frame: Uint8Array, nowMs: number): void {
    if (link === this.#live) this.#forward(MACHINE, frame, nowMs)
    else this.counters.notLiveDropped++
  }

  fromUplink(frame: Uint8Array, nowMs: number): void {
    this.#forward(UPLINK, frame, nowMs)
  }

  fromPlainPort(id: LinkId, frame: Uint8Array, nowMs: number): void {
    this.#forward(id, frame, nowMs)
  }

  #forward(from: SwitchPort, frame: Uint8Array, nowMs: number): void {
    for (const port of this.#ethernet.forward(from, frame, nowMs)) {
      if (port === MACHINE) this.#toMachine(frame, nowMs)
      else if (port === UPLINK) this.#sink.toUplink(frame)
      else this.#sink.toPlainPort(port, frame)
    }
  }

  #toMachine(frame: Uint8Array, nowMs: number): void {
    const queued = this.#live !== null && this.#sink.toLink(this.#live, frame)
    if (queued) this.#delivered++
    this.#redelivery.keep(frame, queued ? this.#delivered : null, nowMs)
  }

  #redeliver(nowMs: number): void {
    this.#delivered = 0
    for (const frame of this.#redelivery.drain(nowMs)) {
      this.counters.redelivered++
      this.#toMachine(frame, nowMs)
    }
  }

  #refuseOld(generation: number): void {
    if (this.#liveGeneration === null || generation >= this.#liveGeneration) return
    throw new NetError(
      'NET_GENERATION_OLD',
      `generation ${generation} is older than ${this.#liveGeneration}, which is live`,
    )
  }
}
