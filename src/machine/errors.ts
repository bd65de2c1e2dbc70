import { UnderstudyError } from '../errors.ts'

/** The configuration asks for a machine that cannot be built. */
export class MachineConfigError extends UnderstudyError {
  constructor(code: 'MACHINE_MEMORY_SIZE' | 'MACHINE_TOO_MANY_DEVICES', message: string, next: string) {
    super(code, message, next)
  }
}
