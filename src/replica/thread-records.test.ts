import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CpuCommand, CpuReport } from './thread-messages.ts'
import { commandParts, decodeCommand, decodeReport, reportParts } from './thread-records.ts'

const bytes = fc.uint8Array({ maxLength: 200 })
const ms = fc.double({ min: 0, max: 1e9, noNaN: true })

const command: fc.Arbitrary<CpuCommand> = fc.oneof(
  fc
    .record({ nic: fc.nat(255), frame: bytes })
    .map(({ nic, frame }): CpuCommand => ({ kind: 'input', input: { kind: 'net-rx', nic, frame } })),
  bytes.map((data): CpuCommand => ({ kind: 'input', input: { kind: 'entropy', data } })),
  fc.record({ bytes, arrivedMs: ms }).map((rest): CpuCommand => ({ kind: 'frame', ...rest })),
  bytes.map((state): CpuCommand => ({ kind: 'clone-state', bytes: state })),
  fc.constant<CpuCommand>({ kind: 'clone-cursor', cursor: { sequence: 3, clock: 1n << 60n, clockRate: 9 } }),
  fc.boolean().map((run): CpuCommand => ({ kind: 'run', run })),
)

const report: fc.Arbitrary<CpuReport> = fc.oneof(
  fc
    .record({ bytes, pages: fc.nat(1 << 30), pagesLeft: fc.nat(1 << 30), stopMs: ms })
    .map((rest): CpuReport => ({ kind: 'clone-piece', ...rest })),
  fc
    .record({
      sequence: fc.maxSafeNat(),
      bytes,
      workMs: ms,
      framesTaken: fc.nat(1 << 20),
      outputs: fc.array(
        bytes.map((frame) => ({ kind: 'net-tx' as const, nic: 0, frame })),
        { maxLength: 3 },
      ),
    })
    .map((rest): CpuReport => ({ kind: 'recorded', ...rest })),
  fc.constant<CpuReport>({ kind: 'ready' }),
  fc.string().map((message): CpuReport => ({ kind: 'diverged', sequence: 7, message })),
)

/** As the ring hands it out: at any place of a longer memory. */
function record(parts: readonly Uint8Array[], offset: number): Uint8Array {
  const whole = Buffer.concat([Buffer.alloc(offset), ...parts])
  return new Uint8Array(whole.buffer, whole.byteOffset + offset, whole.length - offset)
}

/** Buffers and arrays of bytes alike. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) => {
      if (typeof part === 'bigint') return `${part}n`
      return part instanceof Uint8Array ? [...part] : part
    }),
  )
}

test('commands come out of a ring as they went in', () => {
  fc.assert(
    fc.property(command, fc.nat(9), (sent, offset) => {
      expect(plain(decodeCommand(record(commandParts(sent), offset)))).toEqual(plain(sent))
    }),
  )
})

test('reports come out of a ring as they went in', () => {
  fc.assert(
    fc.property(report, fc.nat(9), (sent, offset) => {
      expect(plain(decodeReport(record(reportParts(sent), offset)))).toEqual(plain(sent))
    }),
  )
})
