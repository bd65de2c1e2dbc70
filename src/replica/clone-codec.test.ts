import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CLONE_VERSION,
  CloneDecoder,
  type CloneMessage,
  encodeCloneMessage,
  STATE_BYTES_MAX,
} from './clone-codec.ts'

const header = {
  version: CLONE_VERSION,
  vm: 'web',
  replica: 'host-2/0',
  generation: 3,
  sequence: 77,
  clock: '18446744073709551615',
  clockRate: 0xffff_ffff,
} as const

const anyMessage: fc.Arbitrary<CloneMessage> = fc.oneof(
  fc.constant<CloneMessage>({ kind: 'header', header }),
  fc.uint8Array({ maxLength: 300 }).map((bytes): CloneMessage => ({ kind: 'state', bytes })),
  fc.uint8Array({ maxLength: 300 }).map((bytes): CloneMessage => ({ kind: 'packed-state', bytes })),
  fc.constantFrom<CloneMessage>({ kind: 'end' }, { kind: 'bound' }, { kind: 'restored' }),
  fc
    .string({ maxLength: 80 })
    .map((message): CloneMessage => ({ kind: 'failed', failure: { code: 'X', message } })),
)

/** The same with plain arrays, for comparing. */
function plain(message: CloneMessage): unknown {
  return 'bytes' in message ? { ...message, bytes: [...message.bytes] } : message
}

describe('messages of a clone connection', () => {
  test('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 12 }), fc.array(fc.nat(40)), (messages, cuts) => {
        const stream = Buffer.concat(messages.flatMap(encodeCloneMessage))
        const decoder = new CloneDecoder()
        const out: unknown[] = []
        let from = 0
        for (const cut of [...cuts, stream.length]) {
          out.push(...decoder.push(stream.subarray(from, from + cut)).map(plain))
          from += cut
        }
        expect(out).toEqual(messages.map(plain))
      }),
    )
  })

  test.each([
    ['an unknown kind', Buffer.from([99, 0, 0, 0, 0])],
    ['a state longer than any', Buffer.from([1, ...u32(STATE_BYTES_MAX + 1)])],
    ['a header longer than any', Buffer.from([0, ...u32(1 << 20)])],
    ['a header that is not JSON', Buffer.from([0, ...u32(1), 0x7b])],
    ['a header without its fields', Buffer.from([0, ...u32(2), 0x7b, 0x7d])],
    ['an end that carries bytes', Buffer.from([3, ...u32(1), 0])],
  ])('%s is refused, before it is read', (_name, bytes) => {
    expect(() => new CloneDecoder().push(bytes)).toThrow(expect.objectContaining({ code: 'CLONE_NONSENSE' }))
  })
})

function u32(value: number): number[] {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return [...bytes]
}
