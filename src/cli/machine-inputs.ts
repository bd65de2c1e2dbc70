import type { ConsolePort, MachineInput } from '../machine/io.ts'
import { inputBytesMax, SLICE_INPUT_BYTES_MAX } from '../replay/frame.ts'

/**
 * Bytes typed that one slice may bring. Far above what a hand types and about what a serial line at 115200 baud
 * carries, so that a file piped to stdin does not flood the guest's serial port, which drops what it cannot hold.
 */
const CONSOLE_BYTES_PER_SLICE = 64
/** More typed ahead than this makes `consoleFull` true; the reader of stdin then pauses. */
const CONSOLE_BYTES_WAITING = 65_536
/** As many frames as a NIC of ours holds itself. A network that is faster than the guest loses frames, as networks do. */
const NET_FRAMES_WAITING_MAX = 1024

/** What arrived from outside and waits for the next slice. Bounded, whatever the outside does. */
export class InputQueue {
  readonly #inputs: MachineInput[] = []
  readonly #typed: Uint8Array[] = []
  #typedBytes = 0
  #netFrames = 0
  /** Frames lost because the guest did not keep up. */
  netFramesDropped = 0
  #wake: (() => void) | null = null

  get isEmpty(): boolean {
    return this.#inputs.length === 0 && this.#typedBytes === 0
  }

  get consoleFull(): boolean {
    return this.#typedBytes >= CONSOLE_BYTES_WAITING
  }

  push(input: MachineInput): void {
    if (input.kind === 'net-rx') {
      if (this.#netFrames >= NET_FRAMES_WAITING_MAX) {
        this.netFramesDropped++
        return
      }
      this.#netFrames++
    }
    this.#inputs.push(input)
    this.#wakeUp()
  }

  type(data: Uint8Array): void {
    if (data.length === 0) return
    this.#typed.push(data)
    this.#typedBytes += data.length
    this.#wakeUp()
  }

  /** What the next slice shall get, in order of arrival; never more than fits a frame. */
  take(port: ConsolePort): MachineInput[] {
    const taken: MachineInput[] = []
    let bytes = 0
    while (this.#inputs.length > 0 && bytes < SLICE_INPUT_BYTES_MAX) {
      const input = this.#inputs.shift() as MachineInput
      if (input.kind === 'net-rx') this.#netFrames--
      bytes += inputBytesMax(input)
      taken.push(input)
    }
    const data = this.#takeTyped()
    if (data.length > 0) taken.push({ kind: 'console-rx', port, data })
    return taken
  }

  /** Resolves at the next input or `wakeUp`, or after `timeoutMs`, which may be infinite. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = Number.isFinite(timeoutMs)
        ? setTimeout(() => this.#wakeUp(), Math.ceil(timeoutMs))
        : undefined
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  wakeUp(): void {
    this.#wakeUp()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  #takeTyped(): Uint8Array {
    const first = this.#typed[0]
    if (first === undefined) return new Uint8Array(0)
    const data = first.subarray(0, CONSOLE_BYTES_PER_SLICE)
    if (data.length === first.length) this.#typed.shift()
    else this.#typed[0] = first.subarray(data.length)
    this.#typedBytes -= data.length
    return data
  }
}
