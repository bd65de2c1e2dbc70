import { UnderstudyError } from '../errors.ts'

/**
 * Something that cannot happen has happened, in this replica's own code or in its shell. The replica must end at
 * once: a backup can be made anew, a machine that went on from a broken state could not.
 */
export class ProtocolInvariantError extends UnderstudyError {
  constructor(message: string) {
    super(
      'FT_INVARIANT',
      message,
      'End this replica and report the message: it is a defect of the protocol code.',
    )
  }
}
