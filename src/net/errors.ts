import { UnderstudyError } from '../errors.ts'

/** The stable codes of `src/net`. A program may match them; messages may change. */
export const NET_ERROR_NEXT = {
  NET_FRAME_TOO_LONG:
    'The peer does not speak the stream framing of QEMU; the connection is closed. Check what is connected here.',
  NET_STREAM_TRUNCATED:
    'The peer closed in the middle of a frame; the frame is dropped. Nothing needs to be done.',
  NET_CONTROL_MALFORMED:
    'The peer does not speak the link protocol of this version; use replicas and a gateway of one version.',
  NET_HELLO_MISSING: 'A link must begin with a hello; check that the peer is a replica of this project.',
  NET_TOKEN_WRONG: 'The replica presented a token of another segment; start it again through the host agent.',
  NET_GENERATION_OLD: 'A newer generation is live; this replica must halt.',
  NET_GENERATION_TAKEN: 'Another replica is live in this generation; this replica must not go live.',
  NET_LINKS_TOO_MANY: 'Close links that are no longer needed before opening more.',
  NET_SEGMENT_UNKNOWN: 'Add the segment of this VM at the gateway first; `list` shows what is there.',
  NET_SEGMENT_EXISTS: 'Remove the segment first, or use another VM name.',
  NET_SEGMENTS_TOO_MANY: 'Remove segments that are no longer needed.',
  NET_REQUEST_INVALID: 'Correct the field that the message names and try again.',
  NET_PORT_IN_USE: 'Publish on another host port, or stop what listens on this one (`ss -ltnp` shows it).',
  NET_PORT_FORBIDDEN: 'Publish on a host port of 1024 or higher.',
  NET_PASST_MISSING: 'Install passt (Debian: apt-get install passt) and try again.',
  NET_PASST_FAILED:
    'Read what passt said above; it needs an interface with an IPv4 default route, and the right to make a user namespace, which a chroot and some containers refuse.',
  NET_ADDRESS_INVALID: 'Write the address as unix:/path (at most 107 bytes), tcp:HOST:PORT or tls:HOST:PORT.',
  NET_LISTEN_FAILED:
    'Choose another address or directory for the gateway, and check that no other gateway runs there.',
  NET_GATEWAY_UNREACHABLE: 'Check that the gateway process runs; its log says why it ended.',
  NET_UNAUTHORIZED:
    'Call as a host of this cluster: with its certificate and its API token, which are in the identity directory.',
  NET_GATEWAY_EXISTS: 'Another gateway serves this directory; stop it first.',
} as const

export type NetErrorCode = keyof typeof NET_ERROR_NEXT

/** Everything that goes wrong on purpose in `src/net`. */
export class NetError extends UnderstudyError {
  declare readonly code: NetErrorCode

  constructor(code: NetErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, NET_ERROR_NEXT[code], options)
  }
}

/** Whether a code that came over a socket is one of ours. */
export function isNetErrorCode(code: string): code is NetErrorCode {
  return Object.hasOwn(NET_ERROR_NEXT, code)
}
