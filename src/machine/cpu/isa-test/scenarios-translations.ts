/**
 * Which cached translation is used: entries changed without a fence. The manual leaves it open; this machine fixes it
 * (256 entries for each kind of access, direct-mapped), because a recording must replay. Window pages 0 and 256
 * share an entry, and so do those that follow them.
 */
import { TLB_FILLS_MAX } from '../layout.ts'
import type { Assembler } from './assembler.ts'
import { CAUSE, SUPERVISOR } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'
import { LAYOUT, NOWHERE } from './scenario-layout.ts'
import { ALL, page, READ_WRITE, RETURN, turnOn, window } from './sv39-window.ts'

const TLB_ENTRIES = 256
const notInQemu = 'its TLB has another shape'
/** Registers: the page whose entry changes, the one that evicts it, the changed entry's address and its new value. */
const [VICTIM, RIVAL, ENTRY, CHANGED] = [10, 11, 12, 13]

/** Frames 0 and 1 hold their number plus the offset, frame 0 is behind the victim at first. Goes to S-mode. */
function begin(story: Story): void {
  const { asm } = story
  story.usualTables()
  story.entry(LAYOUT.leafTable, 0, page(0), READ_WRITE)
  story.entry(LAYOUT.leafTable, TLB_ENTRIES - 1, page(3), READ_WRITE)
  story.entry(LAYOUT.leafTable, TLB_ENTRIES, page(2), READ_WRITE)
  for (const n of [0, 1]) {
    asm.li(5, page(n))
    for (const offset of [0, 8, 16, 24]) {
      asm.li(6, 1000 * n + offset)
      asm.emit('sd', 6, 5, offset)
    }
  }
  turnOn(story)
  story.enter(SUPERVISOR)
  asm.li(RIVAL, window(TLB_ENTRIES))
  asm.li(ENTRY, LAYOUT.leafTable)
}

/** Puts the window's page 0 on another frame, without a fence. */
function change(asm: Assembler, physical: number, flags: number): void {
  asm.li(CHANGED, ((BigInt(physical) >> 12n) << 10n) | BigInt(flags))
  asm.emit('sd', CHANGED, ENTRY, 0)
}

/** Brings the translation in, then starts anew with the same address, so that what follows begins with a hit. */
function warm(asm: Assembler, access: 'ld' | 'sd'): void {
  asm.li(VICTIM, window(0))
  asm.emit(access, 5, VICTIM, 24)
  asm.li(VICTIM, window(0))
}

export const TRANSLATION_SCENARIOS: readonly Scenario[] = [
  {
    name: 'a fence of all after more translations than are listed for it, and again after few',
    build(story) {
      const { asm } = story
      begin(story)
      warm(asm, 'ld')
      // Another page, which nothing evicts: only the fence can have cleared it.
      asm.li(23, window(TLB_ENTRIES - 1))
      asm.emit('ld', 5, 23, 0)
      asm.li(7, TLB_FILLS_MAX)
      const loop = asm.here()
      asm.emit('ld', 5, RIVAL, 0)
      asm.emit('ld', 5, VICTIM, 0)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      change(asm, page(1), READ_WRITE)
      asm.li(5, ((BigInt(page(1)) >> 12n) << 10n) | BigInt(READ_WRITE))
      asm.emit('sd', 5, ENTRY, 8 * (TLB_ENTRIES - 1))
      asm.emit('sfence.vma', 0, 0)
      asm.emit('ld', 20, VICTIM, 8)
      asm.emit('ld', 21, 23, 8)
      change(asm, page(0), READ_WRITE)
      asm.emit('sfence.vma', 0, 0)
      asm.emit('ld', 22, VICTIM, 16)
      story.log('after many', 20, 1008)
      story.log('of a page that nothing evicted', 21, 1008)
      story.log('after few', 22, 16)
      story.toMachine()
    },
  },
  {
    name: 'loads off one register, the translation evicted and changed between them',
    notInQemu,
    build(story) {
      const { asm } = story
      begin(story)
      warm(asm, 'ld')
      asm.emit('ld', 20, VICTIM, 0)
      change(asm, page(1), READ_WRITE)
      asm.emit('ld', 21, VICTIM, 8)
      asm.emit('ld', 5, RIVAL, 0)
      asm.emit('ld', 22, VICTIM, 16)
      story.log('before the change', 20, 0)
      story.log('changed, but cached', 21, 8)
      story.log('evicted', 22, 1016)
      story.toMachine()
    },
  },
  {
    name: 'stores off one register, the translation evicted and changed between them',
    notInQemu,
    build(story) {
      const { asm } = story
      begin(story)
      warm(asm, 'sd')
      asm.li(9, 77)
      asm.emit('sd', 9, VICTIM, 0)
      change(asm, page(1), READ_WRITE)
      asm.emit('sd', 9, VICTIM, 8)
      asm.emit('sd', 0, RIVAL, 0)
      asm.emit('sd', 9, VICTIM, 16)
      story.toMachine()
      asm.li(5, page(0))
      asm.li(6, page(1))
      for (const [offset, old, fresh] of [
        [0, 77, 1000],
        [8, 77, 1008],
        [16, 16, 77],
      ]) {
        asm.emit('ld', 7, 5, offset)
        story.log(`old frame at ${offset}`, 7, old)
        asm.emit('ld', 7, 6, offset)
        story.log(`new frame at ${offset}`, 7, fresh)
      }
    },
  },
  {
    name: 'loads off one register, the page taken away and evicted between them, fault where they stand',
    notInQemu,
    build(story) {
      const { asm } = story
      begin(story)
      warm(asm, 'ld')
      asm.li(21, 5)
      asm.emit('ld', 20, VICTIM, 8)
      change(asm, page(1), 0)
      asm.emit('ld', 5, RIVAL, 0)
      story.trap('load', () => asm.emit('ld', 21, VICTIM, 16), {
        cause: CAUSE.loadPage,
        from: SUPERVISOR,
        value: window(0, 16),
      })
      story.log('loaded before', 20, 8)
      story.log('not loaded', 21, 5)
      story.toMachine()
    },
  },
  {
    name: 'an access that crosses into a page evicts the translation in that place, though it caches no short way',
    notInQemu,
    build(story) {
      const { asm } = story
      begin(story)
      warm(asm, 'ld')
      warm(asm, 'sd')
      change(asm, page(1), READ_WRITE)
      asm.emit('ld', 20, VICTIM, 8)
      asm.emit('ld', 5, RIVAL, -4)
      asm.li(VICTIM, window(0))
      asm.emit('ld', 21, VICTIM, 8)
      asm.li(9, 77)
      asm.emit('sd', 9, VICTIM, 0)
      asm.emit('sd', 0, RIVAL, -4)
      asm.li(VICTIM, window(0))
      asm.emit('sd', 9, VICTIM, 8)
      story.log('loaded before', 20, 8)
      story.log('loaded after', 21, 1008)
      story.toMachine()
      asm.li(5, page(0))
      asm.li(6, page(1))
      asm.emit('ld', 7, 5, 0)
      story.log('stored before, old frame', 7, 77)
      asm.emit('ld', 7, 6, 8)
      story.log('stored after, new frame', 7, 77)
    },
  },
  {
    name: 'a fetch that faults for want of memory evicts the translation in its place',
    notInQemu,
    build(story) {
      const { asm } = story
      // Away from the places that the code around it takes in the TLB of fetches.
      const far = 100
      story.usualTables()
      story.entry(LAYOUT.leafTable, far, page(0), ALL)
      story.entry(LAYOUT.leafTable, far + TLB_ENTRIES, NOWHERE, ALL)
      // Each frame holds a function that returns its own number.
      for (const n of [0, 1]) {
        asm.li(5, page(n))
        asm.li(6, 0x0000_0513 | ((n + 7) << 20))
        asm.emit('sw', 6, 5, 0)
        asm.li(6, RETURN)
        asm.emit('sw', 6, 5, 4)
      }
      asm.emit('fence.i')
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(ENTRY, LAYOUT.leafTable + 8 * far)
      asm.li(RIVAL, window(far + TLB_ENTRIES))
      asm.li(9, window(far))
      asm.emit('jalr', 1, 9, 0)
      story.log('the old frame', 10, 7)
      change(asm, page(1), ALL)
      asm.emit('jalr', 1, 9, 0)
      story.log('changed, but cached', 10, 7)
      story.trap('nothing there', () => asm.emit('jalr', 1, RIVAL, 0), {
        cause: CAUSE.fetchAccess,
        from: SUPERVISOR,
        value: window(far + TLB_ENTRIES),
        pc: BigInt(window(far + TLB_ENTRIES)),
      })
      asm.emit('jalr', 1, 9, 0)
      story.log('evicted', 10, 8)
      story.toMachine()
    },
  },
  {
    name: 'accesses off one register, some of them beyond the end of the page',
    build(story) {
      const { asm } = story
      begin(story)
      story.entry(LAYOUT.leafTable, 1, page(1), READ_WRITE)
      for (const [at, other] of [
        [window(1), window(1)],
        [window(1) - 8, window(1)],
        [window(1) - 24, window(1)],
      ]) {
        asm.li(VICTIM, at)
        for (const offset of [-16, -8, 0, 8, 16]) {
          asm.li(9, at + offset)
          asm.emit('sd', 9, VICTIM, offset)
        }
        for (const offset of [-16, -8, 0, 8, 16]) {
          asm.emit('ld', 9, VICTIM, offset)
          story.log(`${offset} from ${at - other}`, 9, at + offset)
        }
        // The bytes around the page's end, one register for all.
        asm.li(VICTIM, other)
        for (const offset of [-7, -4, -1]) {
          asm.li(9, 0x0102_0304_0506_0708n * BigInt(-offset))
          asm.emit('sd', 9, VICTIM, offset)
          asm.emit('ld', 8, VICTIM, offset)
          story.log(`across, ${offset}`, 8, 0x0102_0304_0506_0708n * BigInt(-offset))
        }
      }
      story.toMachine()
    },
  },
  {
    name: 'two ways through the same instructions, one from the middle of another, each with its own look-up',
    build(story) {
      const { asm } = story
      // LUI x7, whose upper half alone is C.NOP: control that arrives two bytes on meets the same loads after it.
      const overlapping = 0x0001_03b7
      story.usualTables()
      turnOn(story)
      for (const [way, frame] of [
        ['over', 1],
        ['into', 1],
        ['over', 0],
        ['into', 0],
      ] as const) {
        const [merge, middle] = [asm.label(), asm.label()]
        for (const n of [0, 1]) {
          asm.li(5, page(n))
          for (const offset of [0, 8, 16]) {
            asm.li(6, 1000 * n + offset)
            asm.emit('sd', 6, 5, offset)
          }
        }
        // Control arrives, so a region begins here.
        story.enter(SUPERVISOR)
        asm.li(12, page(1 - frame))
        asm.li(10, page(frame))
        asm.li(13, way === 'into' ? 0 : 1)
        // A group in the first place for one; then a place with two ways to it, where nothing is known.
        asm.emit('ld', 6, 12, 0)
        asm.emit('ld', 6, 12, 8)
        asm.emitTo(merge, 'beq', 12, 0)
        asm.emit('addi', 0, 0, 0)
        asm.bind(merge)
        asm.emitTo(middle, 'beq', 13, 0)
        asm.emit('ld', 6, 10, 8)
        asm.bytes(Uint8Array.of(overlapping & 0xff, (overlapping >> 8) & 0xff))
        asm.bind(middle)
        asm.bytes(Uint8Array.of((overlapping >> 16) & 0xff, overlapping >>> 24))
        asm.emit('ld', 20, 10, 0)
        asm.emit('ld', 21, 10, 16)
        story.log(`${way}, first`, 20, 1000 * frame)
        story.log(`${way}, second`, 21, 1000 * frame + 16)
        story.toMachine()
      }
    },
  },
]
