/**
 * A descriptor chain after it has been checked: what a device type works on. The framing of descriptors carries no
 * meaning (virtio 1.2, section 2.7.4): a device reads and writes byte streams that happen to lie in pieces.
 */
import type { DeviceState, GuestMemory } from '../device.ts'
import type { StateReader } from '../state.ts'

/** A piece of guest memory, already known to lie in RAM and not to be empty. */
export interface Segment {
  readonly address: number
  readonly length: number
}

export interface DescriptorChain {
  /** Index of the first descriptor: the chain's name in the used ring. */
  readonly head: number
  readonly readable: readonly Segment[]
  readonly readableBytes: number
  readonly writable: readonly Segment[]
  readonly writableBytes: number
}

/** Copies `length` bytes from `offset` of the stream; the stream must be that long. */
export function readSegments(
  memory: GuestMemory,
  segments: readonly Segment[],
  offset: number,
  length: number,
): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(length)
  let skip = offset
  let filled = 0
  for (const segment of segments) {
    if (filled === length) break
    if (skip >= segment.length) {
      skip -= segment.length
      continue
    }
    const piece = Math.min(segment.length - skip, length - filled)
    copy.set(memory.view(segment.address + skip, piece), filled)
    filled += piece
    skip = 0
  }
  return copy
}

/** Writes `data` at `offset` of the stream, as far as it reaches; says how many bytes were written. */
export function writeSegments(
  memory: GuestMemory,
  segments: readonly Segment[],
  offset: number,
  data: Uint8Array,
): number {
  let skip = offset
  let written = 0
  for (const segment of segments) {
    if (written === data.length) break
    if (skip >= segment.length) {
      skip -= segment.length
      continue
    }
    const piece = Math.min(segment.length - skip, data.length - written)
    memory.write(
      segment.address + skip,
      written === 0 && piece === data.length ? data : data.subarray(written, written + piece),
    )
    written += piece
    skip = 0
  }
  return written
}

/** The writable half of a chain that waits for an answer, as saved state: addresses and lengths by turns. */
export function saveSegments(segments: readonly Segment[]): DeviceState {
  return segments.flatMap((segment) => [segment.address, segment.length])
}

/** Takes back what `saveSegments` returned, checked against the RAM there is. */
export function restoreSegments(
  reader: StateReader,
  name: string,
  memory: GuestMemory,
  countMax: number,
): Segment[] {
  const numbers = reader.list(name, 0, countMax * 2)
  if (numbers.length % 2 !== 0) reader.fail(`${name} has an odd number of elements`)
  const segments: Segment[] = []
  for (let index = 0; index < numbers.length; index += 2) {
    const address = numbers[index]
    const length = numbers[index + 1]
    if (!Number.isInteger(address) || !Number.isInteger(length) || (length as number) < 1)
      reader.fail(`${name} holds no addresses and lengths`)
    if (!memory.contains(address as number, length as number)) reader.fail(`${name} reaches outside RAM`)
    segments.push({ address: address as number, length: length as number })
  }
  return segments
}
