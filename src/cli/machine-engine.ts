/** How the machine verbs carry out instructions. A guest cannot tell which it is. */
import { createMachine as createCompilingMachine } from '../compiler/create.ts'
import type { Computer } from '../machine/computer.ts'
import type { BootConfig, MachineConfig } from '../machine/config.ts'
import { createMachine } from '../machine/create.ts'

/**
 * interpreter: nothing is compiled. regions: a thread of its own compiles. regions-at-once: the thread that runs the
 * guest compiles what became hot and waits for it.
 */
export const ENGINES = ['interpreter', 'regions', 'regions-at-once'] as const
export type Engine = (typeof ENGINES)[number]

/** `engine` null is the default, `regions`; `reloadBoot` as in the engine's options. */
export function createMachineFor(
  config: MachineConfig,
  engine: Engine | null,
  reloadBoot?: () => BootConfig,
): Computer {
  const options = reloadBoot === undefined ? {} : { reloadBoot }
  switch (engine) {
    case 'interpreter':
      return createMachine(config, { ...options, engine })
    case 'regions-at-once':
      return createMachine(config, options)
    case 'regions':
    case null:
      return createCompilingMachine(config, options)
  }
}
