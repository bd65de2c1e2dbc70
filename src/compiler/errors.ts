import { UnderstudyError } from '../errors.ts'

/** The thread that compiles met what it cannot compile. */
export class CompilerError extends UnderstudyError {
  constructor(detail: string) {
    super(
      'COMPILER_FAILED',
      `the thread that compiles guest code failed: ${detail}`,
      'report this as a bug with the guest that shows it; `--engine interpreter` does without the compiler',
    )
  }
}
