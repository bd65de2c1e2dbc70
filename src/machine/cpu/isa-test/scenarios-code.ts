/** Code that changes: with FENCE.I and without, ahead in the same straight run, in a loop, through another mapping. */
import { DECODED_BYTES, DECODED_RECORD_BYTES } from '../layout.ts'
import { encode } from './instructions.ts'
import { CSR, PTE, SATP_SV39, SUPERVISOR } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'
import { LAYOUT, WINDOW } from './scenario-layout.ts'

const RETURN = 0x8082
const NOP = encode('addi', 0, 0, 0)
const ALL = PTE.v | PTE.r | PTE.w | PTE.x | PTE.a | PTE.d
/** c.addi x10, 1 */
const SHORT_ADDI = 0x0505
const addi = (immediate: number) => encode('addi', 10, 10, immediate)

/** Writes `words` from `address` on. Uses x5 and x6. */
function write(story: Story, address: number, ...words: number[]): void {
  const { asm } = story
  asm.li(5, address)
  words.forEach((word, n) => {
    asm.li(6, word)
    asm.emit('sw', 6, 5, 4 * n)
  })
}

/** Calls `address` `times` times in a loop. Uses x7 and x9. */
function call(story: Story, address: number, times: number): void {
  const { asm } = story
  asm.li(9, address)
  asm.li(7, times)
  const loop = asm.here()
  asm.emit('jalr', 1, 9, 0)
  asm.emit('addi', 7, 7, -1)
  asm.emitTo(loop, 'bne', 7, 0)
}

export const CODE_SCENARIOS: readonly Scenario[] = [
  {
    name: 'a function rewritten between calls, fenced',
    build(story) {
      const { asm } = story
      asm.li(10, 0)
      let sum = 0
      for (let round = 1; round <= 6; round++) {
        write(story, LAYOUT.pages, addi(round), RETURN)
        asm.emit('fence.i')
        call(story, LAYOUT.pages, 20)
        sum += 20 * round
        story.log(`after round ${round}`, 10, sum)
      }
    },
  },
  {
    name: 'a function rewritten between calls, without a fence',
    build(story) {
      const { asm } = story
      asm.li(10, 0)
      let sum = 0
      for (let round = 1; round <= 6; round++) {
        write(story, LAYOUT.pages, addi(round), RETURN)
        call(story, LAYOUT.pages, 20)
        sum += 20 * round
        story.log(`after round ${round}`, 10, sum)
      }
    },
  },
  {
    name: 'functions whose decoded instructions take the same places, in turn',
    build(story) {
      const { asm } = story
      const distance = (DECODED_BYTES / DECODED_RECORD_BYTES) * 2
      write(story, LAYOUT.pages, addi(1), addi(2), RETURN)
      // The same bytes at the same places, and others; the second instruction begins at another one.
      write(story, LAYOUT.pages + distance, addi(1), SHORT_ADDI | (RETURN << 16))
      const straddling = [SHORT_ADDI | (addi(32) << 16), (addi(32) >>> 16) | (RETURN << 16)]
      write(story, LAYOUT.pages + 2 * distance, ...straddling)
      asm.li(10, 0)
      let sum = 0
      for (let round = 1; round <= 3; round++) {
        for (const [index, each] of [3, 2, 33].entries()) {
          call(story, LAYOUT.pages + index * distance, 5)
          sum += 5 * each
          story.log(`round ${round}, function ${index}`, 10, sum)
        }
      }
    },
  },
  {
    name: 'a store into the straight run it is part of, one instruction ahead and far ahead',
    notInQemu: 'without FENCE.I QEMU runs the old instruction when it is in the block that stores',
    build(story) {
      const { asm } = story
      for (const [what, distance] of [
        ['next', 1],
        ['a few ahead', 4],
        ['a line ahead', 20],
      ] as const) {
        const patched = asm.label()
        const again = asm.label()
        const done = asm.label()
        asm.li(10, 0)
        asm.li(8, 0)
        asm.loadAddress(5, patched)
        asm.li(6, addi(100))
        asm.bind(again)
        asm.emit('addi', 8, 8, 1)
        asm.emit('sw', 6, 5, 0)
        for (let n = 1; n < distance; n++) asm.emit('addi', 0, 0, 0)
        asm.bind(patched)
        asm.word(addi(1))
        asm.li(7, 3)
        asm.emitTo(done, 'bge', 8, 7)
        // The second and third time round the instruction is put back first, and patched again.
        asm.li(11, addi(1))
        asm.emit('sw', 11, 5, 0)
        asm.emit('fence.i')
        asm.emitTo(again, 'jal', 0)
        asm.bind(done)
        story.log(`${what}: patched every time`, 10, 300)
      }
    },
  },
  {
    name: 'a loop that rewrites its own body each time round',
    notInQemu: 'without FENCE.I QEMU runs the old instruction when it is in the block that stores',
    build(story) {
      const { asm } = story
      const patched = asm.label()
      asm.li(10, 0)
      asm.li(8, 1)
      asm.li(11, 50)
      asm.loadAddress(5, patched)
      const loop = asm.here()
      // ADDI x10, x10, x8: the immediate is the counter.
      asm.emit('slli', 6, 8, 20)
      asm.li(7, addi(0))
      asm.emit('add', 6, 6, 7)
      asm.emit('sw', 6, 5, 0)
      asm.bind(patched)
      asm.word(NOP)
      asm.emit('addi', 8, 8, 1)
      asm.emitTo(loop, 'bge', 11, 8)
      story.log('the sum of 1 to 50', 10, 1275)
    },
  },
  {
    name: 'instructions changed by bytes, halves, doubles and floating-point stores',
    build(story) {
      const { asm } = story
      asm.emit('lui', 5, 3 << 1)
      asm.emit('csrrs', 0, CSR.mstatus, 5)
      const base = LAYOUT.pages
      write(story, base, addi(1), addi(2), RETURN)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('before', 10, 15)
      asm.li(5, base)
      // The top byte of ADDI holds immediate bits 11:4.
      asm.li(6, 1)
      asm.emit('sb', 6, 5, 3)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('a byte', 10, 5 * (17 + 2))
      asm.li(5, base)
      asm.li(6, 0x0020)
      asm.emit('sh', 6, 5, 6)
      asm.emit('lhu', 6, 5, 4)
      asm.li(10, 0)
      write(story, base + 4, addi(3))
      call(story, base, 5)
      story.log('a half, then a word', 10, 5 * (17 + 3))
      asm.li(5, base)
      asm.li(6, (BigInt(addi(5)) << 32n) | BigInt(addi(4)))
      asm.emit('sd', 6, 5, 0)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('a double', 10, 5 * 9)
      asm.li(6, (BigInt(addi(7)) << 32n) | BigInt(addi(6)))
      asm.emit('fmv.d.x', 1, 6)
      asm.li(5, base)
      asm.emit('fsd', 1, 5, 0)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('a floating-point store', 10, 5 * 13)
      asm.li(5, base)
      asm.li(6, addi(9))
      asm.emit('amoswap.w', 7, 6, 5, 0)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('an atomic', 10, 5 * 16)
      asm.li(5, base + 4)
      asm.emit('lr.w', 6, 5, 0)
      asm.li(6, addi(10))
      asm.emit('sc.w', 6, 6, 5, 0)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('a store-conditional', 10, 5 * 19)
      // Misaligned, over both instructions.
      asm.li(5, base + 2)
      asm.li(6, (BigInt(addi(12)) << 16n) | BigInt(addi(11) >>> 16))
      asm.emit('sw', 6, 5, 0)
      asm.li(5, base + 6)
      asm.li(6, addi(12) >>> 16)
      asm.emit('sh', 6, 5, 0)
      asm.li(10, 0)
      call(story, base, 5)
      story.log('a misaligned word', 10, 5 * 23)
    },
  },
  {
    name: 'a store that begins in a line without code and ends in one with code',
    build(story) {
      const { asm } = story
      for (const [what, base] of [
        ['across a line', LAYOUT.pages + 64],
        ['across a page', LAYOUT.pages + 4096],
      ] as const) {
        write(story, base, addi(1), RETURN)
        asm.li(10, 0)
        call(story, base, 10)
        story.log(`${what}: before`, 10, 10)
        asm.li(5, base - 4)
        asm.li(6, BigInt(addi(2)) << 32n)
        asm.emit('sd', 6, 5, 0)
        asm.li(10, 0)
        call(story, base, 10)
        story.log(`${what}: a double`, 10, 20)
        // One byte over: only the low byte of ADDI, which holds the same bits but for rd's lowest: x10 becomes x11.
        asm.li(5, base - 1)
        asm.li(6, 0x9300)
        asm.emit('sh', 6, 5, 0)
        asm.li(10, 7)
        asm.li(11, 0)
        call(story, base, 10)
        story.log(`${what}: a byte over, x10`, 10, 7)
        story.log(`${what}: a byte over, x11`, 11, 9)
      }
    },
  },
  {
    name: 'code changed through another mapping of its frame',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, LAYOUT.pages, ALL)
      story.entry(LAYOUT.leafTable, 1, LAYOUT.pages, ALL)
      write(story, LAYOUT.pages, addi(1), RETURN)
      story.setCsr(CSR.satp, SATP_SV39 | BigInt(LAYOUT.rootTable / 4096))
      asm.emit('sfence.vma', 0, 0)
      story.enter(SUPERVISOR)
      asm.li(10, 0)
      call(story, WINDOW, 10)
      story.log('first', 10, 10)
      write(story, WINDOW + 4096, addi(3))
      call(story, WINDOW, 10)
      story.log('after a store through the second page', 10, 40)
      write(story, LAYOUT.pages, addi(5))
      asm.emit('fence.i')
      call(story, WINDOW + 4096, 10)
      call(story, WINDOW, 10)
      story.log('after a store to the frame itself', 10, 140)
      story.toMachine()
      call(story, LAYOUT.pages, 10)
      story.log('and in M-mode', 10, 190)
    },
  },
  {
    name: 'data beside code on one page changes nothing',
    build(story) {
      const { asm } = story
      write(story, LAYOUT.pages, addi(1), RETURN)
      asm.li(10, 0)
      asm.li(9, LAYOUT.pages)
      asm.li(7, 30)
      const loop = asm.here()
      asm.emit('jalr', 1, 9, 0)
      asm.emit('sd', 10, 9, 64)
      asm.emit('sd', 10, 9, 8)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      asm.emit('ld', 11, 9, 64)
      story.log('the sum', 10, 30)
      story.log('the data', 11, 30)
    },
  },
  {
    name: 'an instruction over a page boundary changed in its second half',
    build(story) {
      const { asm } = story
      const start = LAYOUT.pages + 4096 - 2
      asm.li(5, start)
      asm.li(6, addi(1) & 0xffff)
      asm.emit('sh', 6, 5, 0)
      for (const immediate of [1, 2, 3]) {
        asm.li(5, start)
        asm.li(6, addi(immediate) >>> 16)
        asm.emit('sh', 6, 5, 2)
        asm.li(6, RETURN)
        asm.emit('sh', 6, 5, 4)
        asm.li(10, 0)
        call(story, start, 10)
        story.log(`immediate ${immediate}`, 10, 10 * immediate)
      }
    },
  },
]
