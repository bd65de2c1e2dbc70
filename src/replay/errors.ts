import { UnderstudyError } from '../errors.ts'

/** Every code this module throws, with what to do. Stable: programs may match the codes. */
export const REPLAY_ERRORS = {
  /** A frame would be longer than its limit. */
  FRAME_TOO_LONG: 'Give a slice fewer or smaller inputs.',
  /** A checksum does not match: bytes were altered, or the frame stands at another place in the log. */
  FRAME_CORRUPT:
    'The bytes were altered after they were written: fetch the log again from where it was recorded.',
  /** The checksum matches but the content breaks the rules of the format: the writer was faulty or hostile. */
  FRAME_MALFORMED: 'Keep the log: it shows a fault of the program that wrote it.',
  /** The frame to encode does not follow the one before it, or a field is out of range. */
  FRAME_OUT_OF_ORDER: 'This is a bug of the recording program: report it.',
  LOG_NOT_A_LOG: 'Name a file that `understudy machine run --record` wrote.',
  LOG_VERSION: 'Replay it with the version of understudy that recorded it.',
  /** Truncated before its first frame, so there is no machine to replay. */
  LOG_HEADER_TRUNCATED: 'Fetch the log again from where it was recorded: not even its header is whole.',
  LOG_HEADER_CORRUPT:
    'The bytes were altered after they were written: fetch the log again from where it was recorded.',
  LOG_HEADER_MALFORMED: 'Keep the log: it shows a fault of the program that wrote it.',
  /** A length passes its limit. */
  LOG_TOO_LARGE: 'Use a smaller kernel, initrd or ELF; docs/determinism.md lists the limits.',
  /** The closing record was altered, does not fit the frames before it, or is followed by more bytes. */
  LOG_END_CORRUPT:
    'The bytes were altered after they were written: fetch the log again from where it was recorded.',
  REPLAY_DIVERGED:
    'Divergence is a bug unless another version of understudy made the log: keep the log, replaying it reproduces the bug.',
} as const

export type ReplayErrorCode = keyof typeof REPLAY_ERRORS

/** A log or frame that cannot be written or read. `offset` counts bytes from the start of the buffer or file given. */
export class LogError extends UnderstudyError {
  declare readonly code: ReplayErrorCode
  readonly offset: number

  constructor(code: ReplayErrorCode, offset: number, message: string, options?: ErrorOptions) {
    super(code, `${message} (at byte ${offset})`, REPLAY_ERRORS[code], options)
    this.offset = offset
  }
}

/** A frame that cannot be encoded or decoded. */
export class FrameError extends LogError {}

/** What a replay compares after each frame. */
export type Compared = 'retired count' | 'end reason' | 'power state' | 'digest' | 'full digest'

/** The machine came to another place or state than the log says. */
export class DivergenceError extends UnderstudyError {
  declare readonly code: ReplayErrorCode
  /** The frame at whose end the difference was seen. */
  readonly sequence: number
  /** Instructions retired since power-on when it was seen. */
  readonly retired: bigint
  readonly compared: Compared
  readonly expected: string
  readonly actual: string

  constructor(
    where: { readonly sequence: number; readonly retired: bigint },
    compared: Compared,
    expected: string,
    actual: string,
  ) {
    super(
      'REPLAY_DIVERGED',
      `frame ${where.sequence}, at ${where.retired} retired instructions: the ${compared} is ${actual}, the log says ${expected}`,
      REPLAY_ERRORS.REPLAY_DIVERGED,
    )
    this.sequence = where.sequence
    this.retired = where.retired
    this.compared = compared
    this.expected = expected
    this.actual = actual
  }
}
