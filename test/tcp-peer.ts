/**
 * The smallest TCP/IP peer that can stand for a guest: answers ARP, accepts connections (RFC 9293) on any port and
 * sends back what it receives. Frames in, frames out; all state is one plain value, so that a test can move the
 * machine to another replica as a takeover would.
 */

const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_ARP = 0x0806
const PROTOCOL_TCP = 6
const FIN = 1
const SYN = 2
const RST = 4
const PSH = 8
const ACK = 16
const WINDOW_BYTES = 65_535
const MSS_OPTION = [2, 4, 1460 >> 8, 1460 & 0xff]

export interface TcpPeerState {
  readonly mac: readonly number[]
  readonly ipv4: readonly number[]
  /** By "address:port:ownPort". */
  connections: Record<string, Connection>
  /** Bytes echoed so far, over all connections. */
  echoedBytes: number
}

interface Connection {
  receiveNext: number
  sendNext: number
}

interface Segment {
  readonly macSource: Uint8Array
  readonly source: Uint8Array
  readonly sourcePort: number
  readonly port: number
  readonly sequence: number
  readonly flags: number
  readonly payload: Uint8Array
}

export function tcpPeer(mac: readonly number[], ipv4: string): TcpPeerState {
  return { mac, ipv4: ipv4.split('.').map(Number), connections: {}, echoedBytes: 0 }
}

/** What the peer answers to one frame. Mutates `state`. */
export function answer(state: TcpPeerState, frame: Uint8Array): Uint8Array[] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const type = view.getUint16(12)
  if (type === ETHERTYPE_ARP) return answerArp(state, frame, view)
  if (type !== ETHERTYPE_IPV4 || frame[23] !== PROTOCOL_TCP) return []
  return answerTcp(state, parseTcp(frame, view))
}

function answerArp(state: TcpPeerState, frame: Uint8Array, view: DataView): Uint8Array[] {
  const asksForUs = view.getUint16(20) === 1 && state.ipv4.every((byte, i) => frame[38 + i] === byte)
  if (!asksForUs) return []
  const reply = frame.slice(0, 42)
  reply.set(frame.subarray(6, 12), 0)
  reply.set(state.mac, 6)
  reply[21] = 2
  reply.set(frame.subarray(22, 32), 32)
  reply.set(state.mac, 22)
  reply.set(state.ipv4, 28)
  return [reply]
}

function parseTcp(frame: Uint8Array, view: DataView): Segment {
  const tcp = 14 + (frame[14]! & 15) * 4
  const end = 14 + view.getUint16(16)
  return {
    macSource: frame.slice(6, 12),
    source: frame.slice(26, 30),
    sourcePort: view.getUint16(tcp),
    port: view.getUint16(tcp + 2),
    sequence: view.getUint32(tcp + 4),
    flags: frame[tcp + 13]!,
    payload: frame.slice(tcp + (frame[tcp + 12]! >> 4) * 4, end),
  }
}

function answerTcp(state: TcpPeerState, segment: Segment): Uint8Array[] {
  const key = `${segment.source.join('.')}:${segment.sourcePort}:${segment.port}`
  if (segment.flags & RST) {
    delete state.connections[key]
    return []
  }
  if (segment.flags & SYN) {
    const connection = { receiveNext: add(segment.sequence, 1), sendNext: 1001 }
    state.connections[key] = connection
    return [
      tcpFrame(
        state,
        segment,
        { receiveNext: connection.receiveNext, sendNext: 1000 },
        SYN | ACK,
        new Uint8Array(0),
      ),
    ]
  }
  const connection = state.connections[key]
  if (connection === undefined) return []
  const isNext = segment.sequence === connection.receiveNext
  if (!isNext) return [tcpFrame(state, segment, connection, ACK, new Uint8Array(0))]
  connection.receiveNext = add(connection.receiveNext, segment.payload.length)
  const answers: Uint8Array[] = []
  if (segment.payload.length > 0) {
    answers.push(tcpFrame(state, segment, connection, ACK | PSH, segment.payload))
    connection.sendNext = add(connection.sendNext, segment.payload.length)
    state.echoedBytes += segment.payload.length
  }
  if (segment.flags & FIN) {
    connection.receiveNext = add(connection.receiveNext, 1)
    answers.push(tcpFrame(state, segment, connection, ACK | FIN, new Uint8Array(0)))
    delete state.connections[key]
  }
  return answers
}

function tcpFrame(
  state: TcpPeerState,
  to: Segment,
  at: Connection,
  flags: number,
  payload: Uint8Array,
): Uint8Array {
  const options = flags & SYN ? MSS_OPTION : []
  const tcpBytes = 20 + options.length + payload.length
  const frame = new Uint8Array(34 + tcpBytes)
  const view = new DataView(frame.buffer)
  frame.set(to.macSource, 0)
  frame.set(state.mac, 6)
  view.setUint16(12, ETHERTYPE_IPV4)
  frame[14] = 0x45
  view.setUint16(16, 20 + tcpBytes)
  frame[22] = 64
  frame[23] = PROTOCOL_TCP
  frame.set(state.ipv4, 26)
  frame.set(to.source, 30)
  view.setUint16(24, checksum(frame.subarray(14, 34), 0))
  view.setUint16(34, to.port)
  view.setUint16(36, to.sourcePort)
  view.setUint32(38, at.sendNext)
  view.setUint32(42, at.receiveNext)
  frame[46] = ((20 + options.length) / 4) << 4
  frame[47] = flags
  view.setUint16(48, WINDOW_BYTES)
  frame.set(options, 54)
  frame.set(payload, 54 + options.length)
  const pseudoHeader = sum(frame.subarray(26, 34)) + PROTOCOL_TCP + tcpBytes
  view.setUint16(50, checksum(frame.subarray(34), pseudoHeader))
  return frame
}

function add(sequence: number, count: number): number {
  return (sequence + count) >>> 0
}

function sum(bytes: Uint8Array): number {
  let total = 0
  for (let i = 0; i < bytes.length; i++) total += i % 2 ? bytes[i]! : bytes[i]! << 8
  return total
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Uint8Array, start: number): number {
  let total = start + sum(bytes)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return ~total & 0xffff
}
