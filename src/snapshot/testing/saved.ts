/** Machines of bare programs, saved into memory and restored from there. */
import type { Computer, EngineOptions } from '../../machine/computer.ts'
import type { MachineConfig } from '../../machine/config.ts'
import { CLOCK_RATE, type Engine, HOT_THRESHOLD } from '../../machine/cpu/isa-test/engine.ts'
import { createMachine } from '../../machine/create.ts'
import { SnapshotReader } from '../reader.ts'
import { saveMachine } from '../writer.ts'
import { MemorySource } from './memory-source.ts'

export function bareConfig(elf: Uint8Array, memoryMiB = 64): MachineConfig {
  return {
    memoryBytes: memoryMiB * 1024 * 1024,
    boot: { kind: 'bare', elf },
    nics: [{ mac: Uint8Array.of(2, 0, 0, 0, 0, 1) }],
    disks: [{ sizeBytes: 4096, readOnly: false }],
    rngSeed: new Uint8Array(32),
  }
}

export function saved(machine: Computer, compress = false): Uint8Array {
  return Buffer.concat([...saveMachine(machine, { program: 'test', compress })])
}

export function restored(bytes: Uint8Array, options: EngineOptions = {}): Computer {
  const reader = new SnapshotReader(new MemorySource(bytes))
  const machine = createMachine(reader.config, options)
  reader.restore(machine)
  return machine
}

/** Runs to a count, or to the end; a wait ends when the timer is due. */
export function runTo(machine: Computer, count: bigint): void {
  while (!machine.halted && machine.retired < count) {
    const { reason } = machine.run(Number(count - machine.retired))
    if (reason !== 'idle') continue
    const deadline = machine.timerDeadline()
    if (deadline === null) return
    machine.beginSlice({ clock: deadline, clockRate: CLOCK_RATE, inputs: [] })
  }
}

/** A machine in its first slice, at time 0. */
export function started(elf: Uint8Array, engine: Engine): Computer {
  const machine = createMachine(bareConfig(elf), { engine, hotThreshold: HOT_THRESHOLD })
  machine.beginSlice({ clock: 0n, clockRate: CLOCK_RATE, inputs: [] })
  return machine
}
