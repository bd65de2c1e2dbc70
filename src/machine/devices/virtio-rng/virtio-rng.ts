/**
 * The entropy device (virtio 1.2, section 5.4). The machine draws no random numbers: each buffer becomes an
 * `entropy-request`, and the answers, which are in the log, come back as inputs in the order of the requests.
 */
import type { MachineOutput } from '../../io.ts'
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import { restoreSegments, type Segment, saveSegments, writeSegments } from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'
import { DEVICE_ENTROPY } from '../virtio/protocol.ts'
import { CHAIN_DESCRIPTORS_MAX } from '../virtio/virtqueue.ts'

/**
 * One request: seeds a generator several times over. A larger buffer is filled in part, which the driver must allow
 * for.
 */
export const ENTROPY_REQUEST_BYTES_MAX = 1024

const QUEUE_SIZE_MAX = 8

const VERSION = 1

interface PendingBuffer {
  readonly head: number
  readonly segments: readonly Segment[]
}

export class VirtioRng implements VirtioFunction {
  readonly name = 'rng'
  readonly deviceId = DEVICE_ENTROPY
  readonly features = 0n
  readonly queueSizesMax = [QUEUE_SIZE_MAX]
  readonly config = new Uint8Array(0)
  #port!: VirtioPort
  #pending: PendingBuffer[] = []
  /** Requests under way whose buffers a reset has taken away: their answers come first and are thrown away. */
  #orphans = 0

  connect(port: VirtioPort): void {
    this.#port = port
  }

  /**
   * Input: the answer to the oldest `entropy-request`; exactly one for each, in order. Bytes too many are not used.
   */
  receive(data: Uint8Array): void {
    const port = this.#port
    if (this.#orphans > 0) {
      this.#orphans -= 1
      return
    }
    const buffer = this.#pending.shift()
    if (buffer === undefined) {
      port.warn('entropy-unasked')
      return
    }
    if (!port.live) return
    const queue = port.queue(0)
    queue.pushUsed(
      buffer.head,
      writeSegments(port.memory, buffer.segments, 0, data.subarray(0, ENTROPY_REQUEST_BYTES_MAX)),
    )
    port.signal(queue)
  }

  notify(): void {
    const port = this.#port
    const queue = port.queue(0)
    let asked = false
    while (this.#pending.length < QUEUE_SIZE_MAX) {
      const chain = queue.pop()
      if (chain === null) break
      if (chain.writableBytes === 0) {
        queue.pushUsed(chain.head, 0)
        continue
      }
      this.#pending.push({ head: chain.head, segments: chain.writable })
      port.output({
        kind: 'entropy-request',
        bytes: Math.min(chain.writableBytes, ENTROPY_REQUEST_BYTES_MAX),
      })
      asked = true
    }
    port.signal(queue)
    if (asked) port.endSlice()
  }

  /** One request for each answer that is still due; those whose buffers are gone want only to be answered. */
  pendingOutputs(): MachineOutput[] {
    const lengths = this.#pending.map(({ segments }) =>
      segments.reduce((sum, segment) => sum + segment.length, 0),
    )
    return [...Array<number>(this.#orphans).fill(1), ...lengths].map((bytes) => ({
      kind: 'entropy-request',
      bytes: Math.min(bytes, ENTROPY_REQUEST_BYTES_MAX),
    }))
  }

  reset(): void {
    this.#orphans += this.#pending.length
    this.#pending = []
  }

  save(): DeviceState {
    return {
      version: VERSION,
      orphans: this.#orphans,
      pending: this.#pending.map(({ head, segments }) => ({
        version: VERSION,
        head,
        segments: saveSegments(segments),
      })),
    }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const orphans = reader.integer('orphans', 0, Number.MAX_SAFE_INTEGER)
    const pending = reader.list('pending', 0, QUEUE_SIZE_MAX).map((buffer, index) => {
      const fields = new StateReader(`${this.name}.pending[${index}]`, buffer, VERSION)
      const segments = restoreSegments(fields, 'segments', this.#port.memory, CHAIN_DESCRIPTORS_MAX * 2)
      return { head: fields.u16('head'), segments }
    })
    this.#orphans = orphans
    this.#pending = pending
  }
}
