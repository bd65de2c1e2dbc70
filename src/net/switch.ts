/**
 * A learning Ethernet switch as a pure value: frames and the time come in, the ports to forward to come out.
 *
 * A switch knows only where a source address was last seen. Frames to that address go there; frames to an
 * address never seen, and those to a group, go everywhere but back. An address seen on another port has moved,
 * which is how a machine that went live elsewhere takes its traffic with it.
 */
import { ETHERNET_HEADER_BYTES } from './stream.ts'

/** Names a port of one switch; the caller chooses the numbers. */
export type SwitchPort = number

/** An address is forgotten when it was silent this long (IEEE 802.1Q, table 8-6, recommended ageing time). */
export const MAC_AGE_MS_MAX = 300_000

/** Entries of the address table. Bounded because a guest can make up sources; 1024 is a small access switch. */
export const MAC_ENTRIES_MAX = 1024

interface MacEntry {
  readonly port: SwitchPort
  readonly seenMs: number
}

export class LearningSwitch {
  readonly #ports = new Set<SwitchPort>()
  /** By source address; least recently seen first, so the first entry is the one to evict. */
  readonly #entries = new Map<number, MacEntry>()
  readonly #entriesMax: number

  constructor(entriesMax = MAC_ENTRIES_MAX) {
    this.#entriesMax = entriesMax
  }

  get addressCount(): number {
    return this.#entries.size
  }

  addPort(port: SwitchPort): void {
    this.#ports.add(port)
  }

  /** Also forgets every address seen there. */
  removePort(port: SwitchPort): void {
    this.#ports.delete(port)
    for (const [address, entry] of this.#entries) if (entry.port === port) this.#entries.delete(address)
  }

  /** The port where `mac` was last seen, or null. */
  portOf(mac: Uint8Array, nowMs: number): SwitchPort | null {
    const entry = this.#entries.get(addressAt(mac, 0))
    return entry === undefined || nowMs - entry.seenMs > MAC_AGE_MS_MAX ? null : entry.port
  }

  /**
   * Learns the source and returns the ports that must get the frame. Empty for frames that no switch forwards:
   * shorter than a header, sent by a group, addressed to the bridge group, or already where they belong.
   */
  forward(from: SwitchPort, frame: Uint8Array, nowMs: number): readonly SwitchPort[] {
    if (frame.length < ETHERNET_HEADER_BYTES || !this.#ports.has(from) || isGroup(frame, 6)) return []
    this.#learn(addressAt(frame, 6), from, nowMs)
    if (isGroup(frame, 0)) return isBridgeGroup(frame) ? [] : this.#others(from)
    const port = this.portOf(frame, nowMs)
    if (port === null) return this.#others(from)
    return port === from ? [] : [port]
  }

  #learn(address: number, port: SwitchPort, nowMs: number): void {
    // Deleting first moves the entry to the end of the map's order: most recently seen.
    if (!this.#entries.delete(address) && this.#entries.size >= this.#entriesMax) {
      const [oldest] = this.#entries.keys()
      this.#entries.delete(oldest!)
    }
    this.#entries.set(address, { port, seenMs: nowMs })
  }

  #others(from: SwitchPort): SwitchPort[] {
    return [...this.#ports].filter((port) => port !== from)
  }
}

/** Six bytes as one number below 2^48, which a Map compares faster than a string. */
function addressAt(bytes: Uint8Array, at: number): number {
  const high = (bytes[at]! << 8) | bytes[at + 1]!
  const low = ((bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>> 0
  return high * 2 ** 32 + low
}

function isGroup(frame: Uint8Array, at: number): boolean {
  return (frame[at]! & 1) === 1
}

/** 01-80-C2-00-00-00 to -0F: spoken between bridges, never forwarded (IEEE 802.1Q, 8.6.3). */
function isBridgeGroup(frame: Uint8Array): boolean {
  const [a, b, c, d, e, f] = frame
  return a === 0x01 && b === 0x80 && c === 0xc2 && d === 0 && e === 0 && (f! & 0xf0) === 0
}
