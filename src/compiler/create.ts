import { Computer, type EngineOptions } from '../machine/computer.ts'
import type { MachineConfig } from '../machine/config.ts'
import { WorkerCompiler } from './worker-compiler.ts'

/** Builds a machine whose regions are compiled by a thread of their own. Throws what `createMachine` of the machine throws. */
export function createMachine(config: MachineConfig, options: EngineOptions = {}): Computer {
  return new Computer(config, { compiler: (setup) => new WorkerCompiler(setup), ...options })
}
