/** Requests that were issued to the disk and have not ended: their shape, and how they are saved. */
import type { DeviceState, GuestMemory } from '../device.ts'
import { StateReader } from '../state.ts'
import { restoreSegments, type Segment, saveSegments } from '../virtio/chain.ts'
import { CHAIN_DESCRIPTORS_MAX } from '../virtio/virtqueue.ts'

export type RequestKind = 'read' | 'write' | 'flush'

export interface PendingRequest {
  readonly kind: RequestKind
  /** The chain's name in the used ring. */
  readonly head: number
  /** The writable part of the chain: data of a read, then the status byte at `statusOffset`. */
  readonly segments: readonly Segment[]
  readonly statusOffset: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** What a write writes; null otherwise. */
  readonly data: Uint8Array | null
}

const VERSION = 1
const KINDS: readonly RequestKind[] = ['read', 'write', 'flush']

export function savePending(pending: ReadonlyMap<number, PendingRequest>): DeviceState {
  return [...pending].map(([id, request]) => ({
    version: VERSION,
    id,
    kind: request.kind,
    head: request.head,
    segments: saveSegments(request.segments),
    statusOffset: request.statusOffset,
    offsetBytes: request.offsetBytes,
    lengthBytes: request.lengthBytes,
    data: request.data === null ? null : request.data.slice(),
  }))
}

export interface PendingLimits {
  readonly nextId: number
  readonly sizeBytes: number
  readonly countMax: number
  readonly requestBytesMax: number
}

export function restorePending(
  device: StateReader,
  memory: GuestMemory,
  limits: PendingLimits,
): Map<number, PendingRequest> {
  const pending = new Map<number, PendingRequest>()
  let idMin = 0
  for (const [index, state] of device.list('pending', 0, limits.countMax).entries()) {
    const reader = new StateReader(`${device.device}.pending[${index}]`, state, VERSION)
    // Ascending, hence also unique and below nextId.
    const id = reader.integer('id', idMin, limits.nextId - 1)
    idMin = id + 1
    pending.set(id, restoreRequest(reader, memory, limits))
  }
  return pending
}

function restoreRequest(reader: StateReader, memory: GuestMemory, limits: PendingLimits): PendingRequest {
  const kind = KINDS.find((candidate) => candidate === reader.value('kind'))
  if (kind === undefined) reader.fail('kind is none of read, write, flush')
  const head = reader.u16('head')
  const segments = restoreSegments(reader, 'segments', memory, CHAIN_DESCRIPTORS_MAX * 2)
  const writableBytes = segments.reduce((sum, segment) => sum + segment.length, 0)
  const statusOffset = reader.integer('statusOffset', 0, writableBytes - 1)
  const lengthBytes = reader.integer('lengthBytes', 0, limits.requestBytesMax)
  const offsetBytes = reader.integer('offsetBytes', 0, limits.sizeBytes - lengthBytes)
  if (kind === 'read' && lengthBytes !== statusOffset) reader.fail('the buffer of a read has another length')
  const data = kind === 'write' ? reader.bytes('data', lengthBytes, lengthBytes) : null
  return { kind, head, segments, statusOffset, offsetBytes, lengthBytes, data }
}
