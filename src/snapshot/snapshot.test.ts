import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Computer } from '../machine/computer.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { RAM_START } from '../machine/cpu/layout.ts'
import { createMachine } from '../machine/create.ts'
import { SnapshotError, type SnapshotErrorCode } from './errors.ts'
import { SnapshotFile, writeSnapshot } from './file.ts'
import { encodeRecordHeader, MAGIC, RECORD_HEADER_BYTES } from './format.ts'
import { SnapshotReader } from './reader.ts'
import { MemorySource } from './testing/memory-source.ts'
import { bareConfig, restored, saved } from './testing/saved.ts'
import { saveMachine } from './writer.ts'

const PAGE_BYTES = 4096
/** `j .`: it runs for ever. */
const ENDLESS = Uint8Array.of(0x6f, 0, 0, 0)

function bare(bytes: Uint8Array, memoryMiB = 16): Computer {
  const machine = createMachine(bareConfig(writeElf({ base: RAM_START, bytes }), memoryMiB))
  machine.beginSlice({ clock: 0n, clockRate: 1000, inputs: [] })
  machine.run(1000)
  return machine
}

function codeOf(action: () => unknown): SnapshotErrorCode {
  try {
    action()
  } catch (error) {
    if (error instanceof SnapshotError) {
      expect(error.next).not.toBe('')
      return error.code
    }
    throw error
  }
  return expect.unreachable('nothing was thrown')
}

let machine: Computer
let plain: Uint8Array
let packed: Uint8Array

beforeAll(() => {
  // Three pages of program, and a gap of untouched ones before the last page.
  const bytes = new Uint8Array(3 * PAGE_BYTES).fill(0x5a)
  bytes.set(ENDLESS)
  machine = bare(bytes)
  machine.pages.fill(4000, 1).fill(7)
  plain = saved(machine)
  packed = saved(machine, true)
})

describe('a snapshot', () => {
  it('brings back the machine, packed or not', () => {
    expect(packed.length).toBeLessThan(plain.length)
    for (const bytes of [plain, packed]) {
      const copy = restored(bytes)
      expect(copy.fullDigest()).toBe(machine.fullDigest())
      expect(copy.retired).toBe(1000n)
    }
  })

  it('of a restored machine is the same snapshot', () => {
    expect(Buffer.from(saved(restored(plain))).equals(plain)).toBe(true)
  })

  it('is refused truncated at any byte', () => {
    const cuts = fc.oneof(
      fc.nat(300),
      fc.nat(plain.length - 1),
      fc.nat(300).map((n) => plain.length - 1 - n),
    )
    fc.assert(
      fc.property(cuts, (length) => {
        const code = codeOf(() => restored(plain.subarray(0, length)))
        expect(code).toBe(length < MAGIC.length + 6 ? 'SNAPSHOT_NOT_A_SNAPSHOT' : 'SNAPSHOT_TRUNCATED')
      }),
      { numRuns: 60 },
    )
  })

  it('is refused with any bit altered', () => {
    const altered = fc.record({
      packs: fc.boolean(),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    })
    fc.assert(
      fc.property(altered, fc.nat(7), ({ packs, at }, bit) => {
        const bytes = new Uint8Array(packs ? packed : plain)
        bytes[Math.floor(at * bytes.length)] ^= 1 << bit
        expect(codeOf(() => restored(bytes))).toMatch(/^SNAPSHOT_(NOT_A_SNAPSHOT|VERSION|CORRUPT|TRUNCATED)$/)
      }),
      { numRuns: 100 },
    )
  })

  it('is refused with a record left out, repeated or moved', () => {
    const pieces = [...saveMachine(machine, { program: 'test', compress: false })]
    const [start, pages] = [pieces[0], Buffer.concat(pieces.slice(1, -3))]
    const [state, stateText, end] = pieces.slice(-3)
    expect(end.length).toBe(RECORD_HEADER_BYTES)
    const whole = Buffer.concat([start, pages, state, stateText, end])
    expect(whole.equals(plain)).toBe(true)
    const joined = (...parts: Uint8Array[]) => codeOf(() => restored(Buffer.concat(parts)))
    expect(joined(start, state, stateText, end)).toBe('SNAPSHOT_CORRUPT')
    expect(joined(start, pages, end)).toBe('SNAPSHOT_CORRUPT')
    expect(joined(start, pages, pages, state, stateText, end)).toBe('SNAPSHOT_CORRUPT')
    expect(joined(start, state, stateText, pages, end)).toBe('SNAPSHOT_MALFORMED')
    const one = encodeRecordHeader({
      kind: 'end',
      packed: false,
      count: 1,
      storedBytes: 0,
      lengthBytes: 0,
      crc: 0,
    })
    // The state of another machine under this one's header: every checksum is right, the digest is not.
    expect(joined(start, state, stateText, one)).toBe('SNAPSHOT_CORRUPT')
  })

  it('with pages outside of RAM is refused before anything is written', () => {
    const numbers = new Uint8Array(new Uint32Array([machine.pages.count]).buffer)
    const page = new Uint8Array(PAGE_BYTES)
    const record = encodeRecordHeader({
      kind: 'pages',
      packed: false,
      count: 1,
      storedBytes: PAGE_BYTES,
      lengthBytes: PAGE_BYTES,
      crc: crc32(page, crc32(numbers)),
    })
    const [start] = [...saveMachine(machine, { program: 'test', compress: false })]
    expect(codeOf(() => restored(Buffer.concat([start, record, numbers, page])))).toBe('SNAPSHOT_CORRUPT')
  })

  it('does not fit a machine with other devices', () => {
    const reader = new SnapshotReader(new MemorySource(plain))
    const mismatch = (changed: Partial<typeof reader.config>) =>
      codeOf(() => reader.restore(createMachine({ ...reader.config, ...changed })))
    expect(mismatch({ memoryBytes: 32 * 1024 * 1024 })).toBe('SNAPSHOT_MISMATCH')
    expect(mismatch({ disks: [] })).toBe('SNAPSHOT_MISMATCH')
  })

  it('fits a machine with another MAC address and another time of day', () => {
    const reader = new SnapshotReader(new MemorySource(plain))
    const other = createMachine({
      ...reader.config,
      nics: [{ mac: Uint8Array.of(2, 9, 9, 9, 9, 9) }],
      epochNs: 1_700_000_000_000_000_000n,
    })
    reader.restore(other)
    expect(other.fullDigest()).toBe(machine.fullDigest())
  })

  it('is of a machine whose outputs were taken, and nothing runs before it is restored', () => {
    const chatty = bare(ENDLESS)
    chatty.beginSlice({ clock: 100n, clockRate: 0, inputs: [] })
    const reader = new SnapshotReader(new MemorySource(plain))
    const empty = createMachine(reader.config)
    expect(() => empty.beginSlice({ clock: 0n, clockRate: 0, inputs: [] })).toThrow(/snapshot/)
  })
})

describe('pages of zeros', () => {
  it('are left out whether they were ever written or not, and the digest is the same', () => {
    const written = bare(ENDLESS)
    const untouched = written.fullDigest()
    const before = saved(written).length
    written.pages.fill(100, 50)
    expect(written.fullDigest()).toBe(untouched)
    expect(saved(written).length).toBe(before)
    written.pages.fill(100, 1)[17] = 1
    expect(written.fullDigest()).not.toBe(untouched)
    expect(saved(written).length).toBe(before + PAGE_BYTES + 4)
    written.pages.fill(100, 1)[17] = 0
    expect(written.fullDigest()).toBe(untouched)
  })

  it('cost no memory when a machine of 2 GiB is restored, saved and restored again', () => {
    const residentMiB = () => process.memoryUsage.rss() / 2 ** 20
    const big = bare(ENDLESS, 2048)
    const beforeMiB = residentMiB()
    const copy = restored(saved(restored(saved(big))))
    expect(copy.fullDigest()).toBe(big.fullDigest())
    // Two cores with their tables, and whatever the test runner did meanwhile; a tenth of one RAM.
    expect(residentMiB() - beforeMiB).toBeLessThan(200)
  })
})

describe('a snapshot file', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapshot-'))
  })
  afterAll(() => rmSync(directory, { recursive: true }))
  const inDirectory = (name: string) => join(directory, name)

  it('is written whole and read again', () => {
    const path = inDirectory('whole')
    expect(writeSnapshot(path, saveMachine(machine, { program: 'test', compress: false }))).toBe(plain.length)
    expect(readFileSync(path).equals(plain)).toBe(true)
    const file = new SnapshotFile(path)
    const reader = new SnapshotReader(file)
    const copy = createMachine(reader.config)
    reader.restore(copy)
    file.close()
    expect(copy.fullDigest()).toBe(machine.fullDigest())
  })

  it('is never overwritten, and nothing is left of one that could not be written', () => {
    const path = inDirectory('twice')
    writeSnapshot(path, [plain])
    expect(codeOf(() => writeSnapshot(path, [packed]))).toBe('SNAPSHOT_EXISTS')
    expect(readFileSync(path).equals(plain)).toBe(true)
    function* failing(): Generator<Uint8Array> {
      yield plain
      throw new Error('the machine is gone')
    }
    expect(codeOf(() => writeSnapshot(inDirectory('failed'), failing()))).toBe('SNAPSHOT_UNWRITABLE')
    expect(codeOf(() => writeSnapshot(inDirectory('nowhere/file'), [plain]))).toBe('SNAPSHOT_UNWRITABLE')
    expect(readdirSync(directory).filter((name) => name.includes('failed') || name.endsWith('.new'))).toEqual(
      [],
    )
  })

  it('that is missing, or something else, is told apart', () => {
    expect(codeOf(() => new SnapshotFile(inDirectory('missing')))).toBe('SNAPSHOT_MISSING')
    expect(codeOf(() => new SnapshotFile(directory))).toBe('SNAPSHOT_UNREADABLE')
    writeFileSync(inDirectory('text'), 'a text that is long enough to be a header')
    const file = new SnapshotFile(inDirectory('text'))
    expect(codeOf(() => new SnapshotReader(file))).toBe('SNAPSHOT_NOT_A_SNAPSHOT')
    file.close()
    const newer = new Uint8Array(plain)
    newer[MAGIC.length] = 99
    expect(codeOf(() => new SnapshotReader(new MemorySource(newer)))).toBe('SNAPSHOT_VERSION')
  })
})
