/** A device type for tests of the transport: keeps the chains it is given and, when told to, echoes one of them. */
import type { DeviceState } from '../device.ts'
import { StateReader } from '../state.ts'
import {
  type DescriptorChain,
  readSegments,
  restoreSegments,
  saveSegments,
  writeSegments,
} from '../virtio/chain.ts'
import type { VirtioFunction, VirtioPort } from '../virtio/function.ts'

export class EchoFunction implements VirtioFunction {
  readonly name = 'echo'
  readonly deviceId = 42
  readonly features = 0b101n
  readonly queueSizesMax: readonly number[]
  readonly config = Uint8Array.of(1, 2, 3, 4, 5)
  port!: VirtioPort
  held: DescriptorChain[] = []
  resets = 0

  constructor(queueSizesMax: readonly number[] = [256]) {
    this.queueSizesMax = queueSizesMax
  }

  connect(port: VirtioPort): void {
    this.port = port
  }

  notify(index: number): void {
    const queue = this.port.queue(index)
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) this.held.push(chain)
  }

  /** Copies the readable part of a held chain into its writable part and hands the chain back. */
  echo(position: number): void {
    const [chain] = this.held.splice(position, 1)
    const { memory } = this.port
    const queue = this.port.queue(0)
    const length = Math.min(chain.readableBytes, chain.writableBytes)
    const data = readSegments(memory, chain.readable, 0, length)
    queue.pushUsed(chain.head, writeSegments(memory, chain.writable, 0, data))
    this.port.signal(queue)
  }

  reset(): void {
    this.resets += 1
    this.held = []
  }

  save(): DeviceState {
    return {
      version: 1,
      held: this.held.map(({ head, readable, writable }) => ({
        version: 1,
        head,
        readable: saveSegments(readable),
        writable: saveSegments(writable),
      })),
    }
  }

  restore(state: DeviceState): void {
    this.held = new StateReader(this.name, state, 1).list('held', 0, 256).map((chain) => {
      const reader = new StateReader(this.name, chain, 1)
      const readable = restoreSegments(reader, 'readable', this.port.memory, 1024)
      const writable = restoreSegments(reader, 'writable', this.port.memory, 1024)
      const sum = (segments: readonly { length: number }[]): number =>
        segments.reduce((total, { length }) => total + length, 0)
      return {
        head: reader.u16('head'),
        readable,
        writable,
        readableBytes: sum(readable),
        writableBytes: sum(writable),
      }
    })
  }
}
