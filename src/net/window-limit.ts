/**
 * What passt must be told less of, so that it does not lose frames and then drown the guest in repetitions.
 *
 * passt writes as much as the guest's receive window allows into its socket at once, and drops what the socket's buffer
 * does not hold; kernels bound that buffer to some hundred KiB, while a guest's window grows to MiBs. It takes the first
 * duplicate acknowledgement for a loss and sends all again that is not acknowledged; each segment that arrives twice
 * makes another duplicate. Left alone, one lost frame becomes a storm.
 *
 * So the window that passt sees is limited to what its buffer holds, and duplicates reach it one at a time, seldom enough
 * that what they ask for arrives in between. Segments with data, and all other frames, pass as they are.
 */

/** Fits the smallest send buffer that passt gets (2 × 208 KiB, `net.core.wmem_max` of a fresh Linux), twice. */
export const WINDOW_BYTES_MAX = 192 * 1024

/** Several round trips to a guest on this host, and far below the seconds of passt's own timer. */
export const DUPLICATE_INTERVAL_MS = 20

/** Connections whose window scale is remembered; the oldest are forgotten first and are no longer limited. */
export const CONNECTIONS_MAX = 4096

const ETHERTYPE_IPV4 = 0x0800
const PROTOCOL_TCP = 6
const IPV4_AT = 14
const IPV4_FRAGMENT_OFFSET_MASK = 0x1fff
const TCP_HEADER_BYTES_MIN = 20
/** Offsets in the TCP header (RFC 9293, 3.1). */
const TCP = { sequence: 4, acknowledgement: 8, offset: 12, flags: 13, window: 14, checksum: 16 } as const
const FLAG = { fin: 1, syn: 2, rst: 4, ack: 16 } as const
const OPTION = { end: 0, noOperation: 1, windowScale: 3 } as const
/** RFC 7323, 2.3. */
const WINDOW_SHIFT_MAX = 14

interface Connection {
  readonly shift: number
  acknowledgement: number
  window: number
  /** When a duplicate last passed. */
  duplicateMs: number
}

export class WindowLimit {
  readonly #connections = new Map<string, Connection>()

  /** Whether a frame for passt shall be sent. Its window may have been changed then, in place, and its checksum with it. */
  admits(frame: Uint8Array, nowMs: number): boolean {
    const tcp = tcpHeader(frame)
    if (tcp === null) return true
    const { view, at, payloadBytes } = tcp
    const flags = view.getUint8(at + TCP.flags)
    const key = connectionKey(view, at)
    if ((flags & FLAG.syn) !== 0) {
      this.#remember(key, windowShift(view, at))
      return true
    }
    const connection = this.#connections.get(key)
    if (connection === undefined) return true
    if ((flags & (FLAG.rst | FLAG.fin)) !== 0) return true
    const window = Math.min(view.getUint16(at + TCP.window), WINDOW_BYTES_MAX >>> connection.shift)
    setWindow(view, at, window)
    const acknowledgement = view.getUint32(at + TCP.acknowledgement)
    const isDuplicate =
      payloadBytes === 0 &&
      acknowledgement === connection.acknowledgement &&
      window === connection.window &&
      (flags & FLAG.ack) !== 0
    connection.acknowledgement = acknowledgement
    connection.window = window
    if (!isDuplicate) return true
    if (nowMs - connection.duplicateMs < DUPLICATE_INTERVAL_MS) return false
    connection.duplicateMs = nowMs
    return true
  }

  #remember(key: string, shift: number): void {
    // Deleting first moves the connection to the end of the map's order.
    this.#connections.delete(key)
    if (this.#connections.size >= CONNECTIONS_MAX) {
      const [oldest] = this.#connections.keys()
      this.#connections.delete(oldest!)
    }
    this.#connections.set(key, {
      shift,
      acknowledgement: -1,
      window: -1,
      duplicateMs: Number.NEGATIVE_INFINITY,
    })
  }
}

interface TcpHeader {
  readonly view: DataView
  readonly at: number
  readonly payloadBytes: number
}

/** The TCP header of a whole, sound IPv4 packet; null for everything else. */
function tcpHeader(frame: Uint8Array): TcpHeader | null {
  if (frame.length < IPV4_AT + 20 + TCP_HEADER_BYTES_MIN) return null
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (view.getUint16(12) !== ETHERTYPE_IPV4 || view.getUint8(IPV4_AT + 9) !== PROTOCOL_TCP) return null
  if ((view.getUint16(IPV4_AT + 6) & IPV4_FRAGMENT_OFFSET_MASK) !== 0) return null
  const at = IPV4_AT + (view.getUint8(IPV4_AT) & 15) * 4
  const end = IPV4_AT + view.getUint16(IPV4_AT + 2)
  if (end > frame.length || at + TCP_HEADER_BYTES_MIN > end) return null
  const payloadBytes = end - at - headerBytes(view, at)
  return payloadBytes < 0 ? null : { view, at, payloadBytes }
}

function headerBytes(view: DataView, at: number): number {
  return (view.getUint8(at + TCP.offset) >>> 4) * 4
}

/** Both addresses and both ports. */
function connectionKey(view: DataView, at: number): string {
  return `${view.getUint32(IPV4_AT + 12)},${view.getUint32(IPV4_AT + 16)},${view.getUint32(at)}`
}

/** The scale in the options of a SYN; 0 without one. */
function windowShift(view: DataView, at: number): number {
  const end = at + headerBytes(view, at)
  for (let option = at + TCP_HEADER_BYTES_MIN; option < end; ) {
    const kind = view.getUint8(option)
    if (kind === OPTION.end) return 0
    if (kind === OPTION.noOperation) {
      option++
      continue
    }
    if (option + 1 >= end) return 0
    const length = view.getUint8(option + 1)
    if (length < 2 || option + length > end) return 0
    if (kind === OPTION.windowScale && length === 3)
      return Math.min(view.getUint8(option + 2), WINDOW_SHIFT_MAX)
    option += length
  }
  return 0
}

/** Changes the field and, by the difference, the checksum (RFC 1624, equation 3). */
function setWindow(view: DataView, at: number, window: number): void {
  const old = view.getUint16(at + TCP.window)
  if (old === window) return
  view.setUint16(at + TCP.window, window)
  let sum = (~view.getUint16(at + TCP.checksum) & 0xffff) + (~old & 0xffff) + window
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(at + TCP.checksum, ~sum & 0xffff)
}
