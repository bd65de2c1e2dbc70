import { UnderstudyError } from '../errors.ts'

/** Every code this module throws. Stable: programs may match them. */
export const REPLAY_ERROR_CODES = {
  /** A frame would be, or claims to be, longer than its limit. */
  frameTooLong: 'FRAME_TOO_LONG',
  /** A checksum does not match: bytes were altered, or the frame stands at another place in the log. */
  frameCorrupt: 'FRAME_CORRUPT',
  /** The checksum matches but the content breaks the format's rules: the writer was faulty or hostile. */
  frameMalformed: 'FRAME_MALFORMED',
  /** The frame to encode does not follow the one before it. */
  frameOutOfOrder: 'FRAME_OUT_OF_ORDER',
  /** The file does not begin as a log does. */
  logNotALog: 'LOG_NOT_A_LOG',
  /** A log of a version this program does not read. */
  logVersion: 'LOG_VERSION',
  /** Truncated before its first frame, so there is no machine to replay. */
  logHeaderTruncated: 'LOG_HEADER_TRUNCATED',
  /** Header or image bytes were altered. */
  logHeaderCorrupt: 'LOG_HEADER_CORRUPT',
  /** A length in the header passes its limit. */
  logTooLarge: 'LOG_TOO_LARGE',
  /** Bytes of the closing record were altered, or something follows it. */
  logEndCorrupt: 'LOG_END_CORRUPT',
  /** The replay reached another state than the recording. */
  diverged: 'REPLAY_DIVERGED',
} as const

export type ReplayErrorCode = (typeof REPLAY_ERROR_CODES)[keyof typeof REPLAY_ERROR_CODES]

/** A frame that cannot be encoded or decoded. `offset` counts bytes from the start of the buffer or file given. */
export class FrameError extends UnderstudyError {
  readonly offset: number

  constructor(code: ReplayErrorCode, offset: number, message: string) {
    super(
      code,
      `${message} (at byte ${offset})`,
      FRAME_NEXT[code] ?? 'Keep the log: it shows a fault of its writer.',
    )
    this.offset = offset
  }
}

const FRAME_NEXT: { readonly [code in ReplayErrorCode]?: string } = {
  [REPLAY_ERROR_CODES.frameCorrupt]:
    'The bytes were altered after they were written: fetch the log again from where it was recorded.',
  [REPLAY_ERROR_CODES.frameTooLong]: 'Give a slice fewer or smaller inputs.',
}
