/**
 * Device trees: from a tree of nodes to the flattened blob (DTB) that a kernel reads, and back. Devicetree
 * Specification 0.4, chapter 5.
 */
import { UnderstudyError } from '../../errors.ts'

/** A node of a device tree before it is flattened. */
export interface FdtNode {
  readonly name: string
  readonly properties: { readonly [name: string]: FdtValue }
  readonly children?: readonly FdtNode[]
}

/**
 * Numbers are u32 cells; bigints are u64 (two cells); strings end in NUL; arrays concatenate; `true` is an empty
 * property.
 */
export type FdtValue = number | bigint | string | true | Uint8Array | readonly (number | bigint | string)[]

/** Memory the kernel must leave alone (section 5.3). */
export interface FdtReservation {
  readonly address: bigint
  readonly lengthBytes: bigint
}

/** A node as read back from a blob: what the values meant is not in the blob, so they stay bytes. */
export interface FdtBlobNode {
  readonly name: string
  readonly properties: ReadonlyMap<string, Uint8Array>
  readonly children: readonly FdtBlobNode[]
}

export interface FdtBlob {
  readonly root: FdtBlobNode
  readonly reservations: readonly FdtReservation[]
  readonly bootCpu: number
}

export class FdtError extends UnderstudyError {
  constructor(code: 'FDT_VALUE' | 'FDT_BLOB', problem: string) {
    super(
      code,
      code === 'FDT_VALUE'
        ? `The device tree cannot be flattened: ${problem}.`
        : `This is no valid device tree blob: ${problem}.`,
      code === 'FDT_VALUE'
        ? 'Correct the node or property named in the message.'
        : 'Check that the whole blob was read and is of version 17.',
    )
  }
}

/** Linux maps no more than this for the early device tree (its MAX_FDT_SIZE on RISC-V). */
export const FDT_BYTES_MAX = 1024 * 1024
/** Deeper nesting than any real tree has; bounds the recursion over a blob. */
const DEPTH_MAX = 32

const MAGIC = 0xd00d_feed
const VERSION = 17
const LAST_COMPATIBLE_VERSION = 16
const HEADER_BYTES = 40
const BEGIN_NODE = 1
const END_NODE = 2
const PROPERTY = 3
const NOP = 4
const END = 9

/** Node and property names (section 2.2), without the lengths that real trees exceed. */
const NODE_NAME = /^[0-9a-zA-Z,._+-]+(@[0-9a-zA-Z,._+-]+)?$/
const PROPERTY_NAME = /^[0-9a-zA-Z,._+?#-]+$/

/** Flattens the tree. `root` is the node `/`: its name must be empty. Throws FdtError with code FDT_VALUE. */
export function flattenFdt(
  root: FdtNode,
  reservations: readonly FdtReservation[] = [],
  bootCpu = 0,
): Uint8Array<ArrayBuffer> {
  if (root.name !== '') throw new FdtError('FDT_VALUE', `the root is named "${root.name}"`)
  const structure = new BigEndianWriter()
  const strings = new StringBlock()
  writeNode(structure, strings, root, '', 0)
  structure.u32(END)
  const reservationBytes = (reservations.length + 1) * 16
  const structureOffset = HEADER_BYTES + reservationBytes
  const stringsOffset = structureOffset + structure.length
  const stringBytes = strings.bytes()
  const blob = new BigEndianWriter()
  const total = stringsOffset + stringBytes.length
  for (const word of [
    MAGIC,
    total,
    structureOffset,
    stringsOffset,
    HEADER_BYTES,
    VERSION,
    LAST_COMPATIBLE_VERSION,
    bootCpu,
  ])
    blob.u32(word)
  blob.u32(stringBytes.length)
  blob.u32(structure.length)
  for (const reservation of reservations) {
    blob.u64(reservation.address)
    blob.u64(reservation.lengthBytes)
  }
  blob.u64(0n)
  blob.u64(0n)
  blob.append(structure.bytes())
  blob.append(stringBytes)
  if (blob.length > FDT_BYTES_MAX)
    throw new FdtError('FDT_VALUE', `${blob.length} bytes are more than a kernel maps`)
  return blob.bytes()
}

function writeNode(
  out: BigEndianWriter,
  strings: StringBlock,
  node: FdtNode,
  path: string,
  depth: number,
): void {
  if (depth > DEPTH_MAX) throw new FdtError('FDT_VALUE', `${path} is nested too deeply`)
  out.u32(BEGIN_NODE)
  out.text(node.name)
  out.align(4)
  for (const [name, value] of Object.entries(node.properties)) {
    if (!PROPERTY_NAME.test(name))
      throw new FdtError('FDT_VALUE', `"${name}" of ${path}/ is no property name`)
    const bytes = encodeValue(value, `${path}/${name}`)
    out.u32(PROPERTY)
    out.u32(bytes.length)
    out.u32(strings.offsetOf(name))
    out.append(bytes)
    out.align(4)
  }
  const seen = new Set<string>()
  for (const child of node.children ?? []) {
    const childPath = `${path}/${child.name}`
    if (!NODE_NAME.test(child.name)) throw new FdtError('FDT_VALUE', `"${childPath}" is no node name`)
    if (seen.has(child.name)) throw new FdtError('FDT_VALUE', `there are two nodes ${childPath}`)
    seen.add(child.name)
    writeNode(out, strings, child, childPath, depth + 1)
  }
  out.u32(END_NODE)
}

function encodeValue(value: FdtValue, path: string): Uint8Array {
  if (value === true) return new Uint8Array(0)
  if (value instanceof Uint8Array) return value
  const out = new BigEndianWriter()
  const items = typeof value === 'object' ? value : [value]
  for (const item of items) {
    if (typeof item === 'string') {
      if (item.includes('\0')) throw new FdtError('FDT_VALUE', `the string in ${path} contains NUL`)
      out.text(item)
    } else if (typeof item === 'bigint') {
      if (BigInt.asUintN(64, item) !== item)
        throw new FdtError('FDT_VALUE', `${item} in ${path} is no 64-bit number`)
      out.u64(item)
    } else {
      if (!Number.isInteger(item) || item < 0 || item > 0xffff_ffff)
        throw new FdtError('FDT_VALUE', `${item} in ${path} is no 32-bit cell`)
      out.u32(item)
    }
  }
  return out.bytes()
}

/** Property names, each once; a name that ends another shares its bytes. */
class StringBlock {
  readonly #out = new BigEndianWriter()
  readonly #offsets = new Map<string, number>()

  offsetOf(name: string): number {
    const known = this.#offsets.get(name)
    if (known !== undefined) return known
    const offset = this.#out.length
    this.#out.text(name)
    for (let tail = 0; tail < name.length; tail++) {
      const suffix = name.slice(tail)
      if (!this.#offsets.has(suffix)) this.#offsets.set(suffix, offset + tail)
    }
    return offset
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#out.bytes()
  }
}

class BigEndianWriter {
  #bytes = new Uint8Array(1024)
  #view = new DataView(this.#bytes.buffer)
  #length = 0

  get length(): number {
    return this.#length
  }

  u32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value)
    this.#length += 4
  }

  u64(value: bigint): void {
    this.#reserve(8)
    this.#view.setBigUint64(this.#length, value)
    this.#length += 8
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** UTF-8 with a NUL behind it. */
  text(text: string): void {
    this.append(new TextEncoder().encode(`${text}\0`))
  }

  align(alignment: number): void {
    const padding = (alignment - (this.#length % alignment)) % alignment
    this.append(new Uint8Array(padding))
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length)
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more))
    grown.set(this.#bytes)
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/**
 * Reads a blob back. Everything is checked: throws FdtError with code FDT_BLOB for whatever is no sound version-17
 * blob.
 */
export function readFdt(blob: Uint8Array): FdtBlob {
  return new BlobReader(blob).read()
}

class BlobReader {
  readonly #blob: Uint8Array
  readonly #view: DataView
  #at = 0
  #structureEnd = 0
  #stringsOffset = 0
  #stringsEnd = 0

  constructor(blob: Uint8Array) {
    this.#blob = blob
    this.#view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength)
  }

  read(): FdtBlob {
    if (this.#blob.length < HEADER_BYTES) this.#fail('it is shorter than a header')
    if (this.#view.getUint32(0) !== MAGIC) this.#fail('the magic number is missing')
    if (this.#view.getUint32(20) !== VERSION) this.#fail(`its version is ${this.#view.getUint32(20)}`)
    const total = this.#view.getUint32(4)
    if (total < HEADER_BYTES || total > this.#blob.length) this.#fail('it is shorter than its header says')
    const structureOffset = this.#view.getUint32(8)
    this.#structureEnd = structureOffset + this.#view.getUint32(36)
    this.#stringsOffset = this.#view.getUint32(12)
    this.#stringsEnd = this.#stringsOffset + this.#view.getUint32(32)
    if (this.#structureEnd > total || this.#stringsEnd > total || structureOffset % 4 !== 0)
      this.#fail('a block lies outside of it')
    const reservations = this.#reservations(this.#view.getUint32(16), total)
    this.#at = structureOffset
    if (this.#token() !== BEGIN_NODE) this.#fail('there is no root')
    const root = this.#node(0)
    if (this.#token() !== END) this.#fail('something follows the root')
    return { root, reservations, bootCpu: this.#view.getUint32(28) }
  }

  #fail(problem: string): never {
    throw new FdtError('FDT_BLOB', problem)
  }

  #reservations(offset: number, total: number): FdtReservation[] {
    const reservations: FdtReservation[] = []
    for (let at = offset; ; at += 16) {
      if (at + 16 > total || at % 8 !== 0) this.#fail('the memory reservations do not end')
      const address = this.#view.getBigUint64(at)
      const lengthBytes = this.#view.getBigUint64(at + 8)
      if (address === 0n && lengthBytes === 0n) return reservations
      reservations.push({ address, lengthBytes })
    }
  }

  #u32(): number {
    if (this.#at + 4 > this.#structureEnd) this.#fail('the structure block ends too early')
    const value = this.#view.getUint32(this.#at)
    this.#at += 4
    return value
  }

  #token(): number {
    for (;;) {
      const token = this.#u32()
      if (token !== NOP) return token
    }
  }

  #text(from: number, end: number): string {
    const nul = this.#blob.subarray(0, end).indexOf(0, from)
    if (from > end || nul < 0) this.#fail('a name does not end')
    return new TextDecoder().decode(this.#blob.subarray(from, nul))
  }

  #align(): void {
    this.#at = (this.#at + 3) & ~3
  }

  #node(depth: number): FdtBlobNode {
    if (depth > DEPTH_MAX) this.#fail('its nodes are nested too deeply')
    const name = this.#text(this.#at, this.#structureEnd)
    this.#at += new TextEncoder().encode(name).length + 1
    this.#align()
    const properties = new Map<string, Uint8Array>()
    const children: FdtBlobNode[] = []
    for (;;) {
      const token = this.#token()
      if (token === END_NODE) return { name, properties, children }
      if (token === BEGIN_NODE) children.push(this.#node(depth + 1))
      else if (token === PROPERTY) {
        const length = this.#u32()
        const nameOffset = this.#stringsOffset + this.#u32()
        if (this.#at + length > this.#structureEnd) this.#fail('a value reaches past the structure block')
        properties.set(
          this.#text(nameOffset, this.#stringsEnd),
          this.#blob.slice(this.#at, this.#at + length),
        )
        this.#at += length
        this.#align()
      } else this.#fail(`there is no token ${token}`)
    }
  }
}

/** The node at an absolute path such as `/soc/serial@10000000`, or null. */
export function findFdtNode(root: FdtBlobNode, path: string): FdtBlobNode | null {
  let node: FdtBlobNode | undefined = root
  for (const name of path.split('/').filter((part) => part !== ''))
    node = node?.children.find((child) => child.name === name)
  return node ?? null
}
