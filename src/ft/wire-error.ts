import { UnderstudyError } from '../errors.ts'

const NEXT = {
  FT_MESSAGE_MAGIC:
    'The peer is no replica, or another program uses the port: check the addresses of both hosts.',
  FT_MESSAGE_VERSION: 'Run the same version of understudy on both hosts.',
  FT_MESSAGE_LENGTH: 'The peer sent a message beyond the limit; protect the VM again.',
  FT_MESSAGE_CHECKSUM: 'The message was damaged on its way: check the network; protect the VM again.',
  FT_MESSAGE_FORGED:
    'Somebody who does not have the key of this pair sends to its port: look at the counters for who; harm is not done.',
  FT_MESSAGE_KIND: 'Run the same version of understudy on both hosts.',
  FT_MESSAGE_FIELDS: 'The peer sent a message that contradicts itself; protect the VM again.',
} as const

export type WireErrorCode = keyof typeof NEXT

/** What came from the peer is no message of this protocol. The shell closes the channel, or drops the datagram. */
export class WireError extends UnderstudyError {
  declare readonly code: WireErrorCode

  constructor(code: WireErrorCode, message: string) {
    super(code, message, NEXT[code])
  }
}
