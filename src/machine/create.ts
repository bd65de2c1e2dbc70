import { Computer, type EngineOptions } from './computer.ts'
import type { MachineConfig } from './config.ts'

/** Builds a machine at power-on. Throws typed errors when the configuration, kernel or program does not fit. */
export function createMachine(config: MachineConfig, options: EngineOptions = {}): Computer {
  return new Computer(config, options)
}
