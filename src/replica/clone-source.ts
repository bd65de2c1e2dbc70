/** The CPU thread's part of becoming a clone: makes and fills its machine from commands, before it does anything else. */
import type { MachineConfig } from '../machine/config.ts'
import { isSavable, type Machine } from '../machine/machine.ts'
import type { FrameCursor } from '../replay/frame.ts'
import { SnapshotReader, type SnapshotSource } from '../snapshot/reader.ts'
import { ReplicaError } from './errors.ts'
import type { RingReader } from './ring.ts'
import { decodeCommand } from './thread-records.ts'

export interface ClonedMachine {
  readonly machine: Machine
  /** Where its log goes on. */
  readonly cursor: FrameCursor
}

/** Sleeps for the source of the clone as long as it takes. Throws RING_CLOSED when there will be none. */
export async function cloneFrom(
  commands: RingReader,
  create: (config: MachineConfig) => Machine | Promise<Machine>,
): Promise<ClonedMachine> {
  const source = new CommandSource(commands)
  const cursor = source.cursor()
  const reader = new SnapshotReader(source)
  const machine = await create(reader.config)
  if (!isSavable(machine)) throw new ReplicaError('CLONE_NOT_POSSIBLE', 'This machine cannot be a clone.')
  reader.restore(machine)
  source.end()
  return { machine, cursor }
}

/** The bytes of `clone-state` commands as one stream. */
class CommandSource implements SnapshotSource {
  readonly #commands: RingReader
  #piece: Uint8Array = new Uint8Array()
  #ended = false

  constructor(commands: RingReader) {
    this.#commands = commands
  }

  cursor(): FrameCursor {
    const command = this.#next()
    if (command.kind === 'clone-cursor') return command.cursor
    throw new ReplicaError('CLONE_NONSENSE', `A clone was sent ${command.kind} before it knew its log.`)
  }

  readInto(buffers: readonly Uint8Array[]): number {
    return buffers.reduce((sum, buffer) => sum + this.#fill(buffer), 0)
  }

  /** The state was whole: only its end may follow. */
  end(): void {
    if (this.#fill(new Uint8Array(1)) > 0) throw new ReplicaError('CLONE_NONSENSE', 'A state has a rest.')
  }

  #fill(buffer: Uint8Array): number {
    let filled = 0
    while (filled < buffer.length) {
      if (this.#piece.length === 0 && !this.#refill()) break
      const part = this.#piece.subarray(0, buffer.length - filled)
      buffer.set(part, filled)
      filled += part.length
      this.#piece = this.#piece.subarray(part.length)
    }
    return filled
  }

  #refill(): boolean {
    if (this.#ended) return false
    const command = this.#next()
    if (command.kind === 'clone-state') this.#piece = command.bytes
    else if (command.kind === 'clone-end') this.#ended = true
    else throw new ReplicaError('CLONE_NONSENSE', `A clone was sent ${command.kind} amid its state.`)
    return !this.#ended
  }

  #next() {
    for (;;) {
      const record = this.#commands.tryRead()
      if (record !== null) return decodeCommand(record)
      if (this.#commands.closed) throw new ReplicaError('RING_CLOSED', 'The source of the clone is gone.')
      this.#commands.wait()
    }
  }
}
