/**
 * A live machine is cloned from one CPU thread into another while it runs, by the messages of the rings: behind the
 * hand-over point the clone replays what the original records, to the same digests.
 */
import { afterEach, expect, test } from 'vitest'
import { Assembler } from '../machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../machine/cpu/isa-test/elf.ts'
import { Cpu } from './cpu.ts'
import { PRODUCT_MACHINE } from './standby.ts'
import type { CpuReport } from './thread-messages.ts'
import { monotonicMs } from './thread-messages.ts'

const BASE = 0x8000_0000
const DATA = BASE + 0x10_0000
/** A power of two: what the program writes to, over and over. */
const DATA_BYTES = 4 * 1024 * 1024
const MEMORY_BYTES = 16 * 1024 * 1024

const started: Cpu[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((cpu) => cpu.end()))
})

/** Counts, and writes what it counts all over its data. */
function countingProgram(): Uint8Array {
  const asm = new Assembler(BASE)
  const [count, at, mask, base] = [20, 21, 22, 23]
  asm.li(count, 1)
  asm.li(base, DATA)
  asm.li(mask, DATA_BYTES - 8)
  const again = asm.here('again')
  asm.emit('addi', count, count, 1)
  asm.emit('slli', at, count, 9)
  asm.emit('xor', at, at, count)
  asm.emit('andi', at, at, -8)
  asm.emit('and', at, at, mask)
  asm.emit('add', at, at, base)
  asm.emit('sd', count, at, 0)
  asm.emitTo(again, 'jal', 0)
  return writeElf({ base: BASE, bytes: asm.finish(), symbols: {} })
}

function start(live: boolean, onReport: (report: CpuReport) => void): Cpu {
  const machine = live
    ? {
        memoryBytes: MEMORY_BYTES,
        boot: { kind: 'bare' as const, elf: countingProgram() },
        nics: [{ mac: Uint8Array.of(2, 0, 0, 0, 0, 1) }],
        disks: [],
        rngSeed: new Uint8Array(32).fill(7),
      }
    : null
  const cpu = Cpu.start({ machineModule: PRODUCT_MACHINE.href, machine, live, onReport })
  started.push(cpu)
  return cpu
}

/** Clones a running machine; resolves when the clone has replayed so many frames behind the hand-over point. */
function cloneAndFollow(frames: number): Promise<{ replayed: number; pieces: number }> {
  return new Promise((resolve, reject) => {
    let sequence = Number.POSITIVE_INFINITY
    let [pieces, replayed] = [0, 0]
    /** What was recorded while the state was still on its way; null when it has arrived. */
    let kept: Uint8Array[] | null = []
    const clone = start(false, (report) => {
      if (report.kind === 'replayed' && ++replayed === frames) resolve({ replayed, pieces })
      if (report.kind === 'diverged' || report.kind === 'failed') reject(new Error(report.message))
    })
    const follow = (bytes: Uint8Array) => clone.send({ kind: 'frame', bytes, arrivedMs: monotonicMs() })
    const original = start(true, (report) => {
      switch (report.kind) {
        case 'recorded':
          if (report.sequence < sequence) return
          if (kept === null) follow(report.bytes)
          else kept.push(report.bytes)
          return
        case 'clone-begun':
          sequence = report.cursor.sequence
          expect(report.pages).toBeGreaterThan(DATA_BYTES / 4096)
          clone.send({ kind: 'clone-cursor', cursor: report.cursor })
          original.send({ kind: 'clone-credit', pages: 64 })
          return
        case 'clone-piece':
          pieces++
          clone.send({ kind: 'clone-state', bytes: report.bytes })
          original.send({ kind: 'clone-credit', pages: report.pages })
          if (report.pagesLeft > 0 || kept === null) return
          clone.send({ kind: 'clone-end' })
          for (const bytes of kept) follow(bytes)
          kept = null
          return
        case 'failed':
          reject(new Error(report.message))
      }
    })
    original.send({ kind: 'run', run: true })
    // Asked for before there is a log: it begins behind the first frame.
    original.send({ kind: 'clone' })
  })
}

test('a clone made while the original writes follows its log to the same digests', async () => {
  const { replayed, pieces } = await cloneAndFollow(200)
  expect(replayed).toBe(200)
  expect(pieces).toBeGreaterThan(10)
})

test('a clone that is given up leaves the original running, and another may follow', async () => {
  const cursors: number[] = []
  await new Promise<void>((resolve, reject) => {
    let pieces = 0
    const original = start(true, (report) => {
      if (report.kind === 'failed') reject(new Error(report.message))
      if (report.kind === 'clone-begun') {
        cursors.push(report.cursor.sequence)
        original.send({ kind: 'clone-credit', pages: cursors.length === 1 ? 64 : 1_000_000 })
      }
      if (report.kind !== 'clone-piece') return
      pieces++
      if (cursors.length === 1 && pieces === 1) {
        original.send({ kind: 'clone-cancel' })
        original.send({ kind: 'clone' })
      }
      if (cursors.length === 2 && report.pagesLeft === 0) resolve()
    })
    original.send({ kind: 'run', run: true })
    original.send({ kind: 'clone' })
  })
  expect(cursors[1]).toBeGreaterThan(cursors[0])
})

test('a clone whose state is cut short fails with a code, and is told so', async () => {
  const failed = await new Promise<CpuReport>((resolve) => {
    const clone = start(false, (report) => {
      if (report.kind === 'failed') resolve(report)
    })
    clone.send({ kind: 'clone-cursor', cursor: { sequence: 1, clock: 0n, clockRate: 0 } })
    clone.send({ kind: 'clone-state', bytes: Uint8Array.of(1, 2, 3) })
    clone.send({ kind: 'clone-end' })
  })
  expect(failed).toMatchObject({ code: 'SNAPSHOT_NOT_A_SNAPSHOT' })
})
