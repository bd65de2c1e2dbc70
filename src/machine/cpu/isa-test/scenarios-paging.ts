/** Sv39 (volume II, chapter "Supervisor-Level ISA", sections on Sv32 and Sv39): where addresses lead. */
import { encode } from './instructions.ts'
import { CAUSE, CSR, PTE, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario } from './scenario.ts'
import { LAYOUT, NOWHERE, WINDOW } from './scenario-layout.ts'
import { ALL, PAGE, page, READ_WRITE, RETURN, remap, turnOn, window } from './sv39-window.ts'

export const PAGING_SCENARIOS: readonly Scenario[] = [
  {
    name: 'S-mode loads and stores go through the tables, pages in another order than frames',
    build(story) {
      const { asm } = story
      story.usualTables()
      for (let n = 0; n < 4; n++) story.entry(LAYOUT.leafTable, n, page(3 - n), READ_WRITE)
      for (let n = 0; n < 4; n++) {
        asm.li(5, page(n))
        asm.li(6, 0x1110 + n)
        asm.emit('sd', 6, 5, 0)
      }
      turnOn(story)
      story.enter(SUPERVISOR)
      for (let n = 0; n < 4; n++) {
        asm.li(5, window(n))
        asm.emit('ld', 6, 5, 0)
        story.log(`frame behind window page ${n}`, 6, 0x1110 + 3 - n)
        asm.emit('sd', 5, 5, 8)
      }
      story.toMachine()
      for (let n = 0; n < 4; n++) {
        asm.li(5, page(n))
        asm.emit('ld', 6, 5, 8)
        story.log(`what S stored in frame ${n}`, 6, window(3 - n))
      }
    },
  },
  {
    name: 'addresses that are not sign-extended from bit 38 fault',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.rootTable, 511, 0x8000_0000, ALL)
      turnOn(story)
      story.enter(SUPERVISOR)
      const high = -(1n << 30n) + BigInt(LAYOUT.pages - 0x8000_0000)
      asm.li(5, 99)
      asm.li(10, high)
      asm.emit('sd', 5, 10, 0)
      asm.li(10, LAYOUT.pages)
      asm.emit('ld', 6, 10, 0)
      story.log('the upper half works', 6, 99)
      for (const address of [1n << 38n, 1n << 39n, (1n << 63n) | 0x8001_4000n, 0xffff_ff00_8001_4000n]) {
        asm.li(10, address)
        story.trap(`load at ${address.toString(16)}`, () => asm.emit('lb', 6, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: BigInt.asIntN(64, address),
        })
      }
      story.toMachine()
    },
  },
  {
    name: 'superpages, and misaligned ones',
    build(story) {
      const { asm } = story
      story.usualTables()
      // 2 MiB of RAM at 2 MiB * 5, and a misaligned one beside it; a misaligned gigapage.
      story.entry(LAYOUT.middleTable, 5, 0x8000_0000, READ_WRITE)
      story.entry(LAYOUT.middleTable, 6, 0x8000_1000, READ_WRITE)
      story.entry(LAYOUT.rootTable, 4, 0x8020_0000, READ_WRITE)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(5, LAYOUT.pages + 16)
      asm.li(6, 0x77)
      asm.emit('sd', 6, 5, 0)
      asm.li(10, 5 * 0x20_0000 + (LAYOUT.pages - 0x8000_0000) + 16)
      asm.emit('ld', 11, 10, 0)
      story.log('through the megapage', 11, 0x77)
      for (const address of [6 * 0x20_0000, 4 * 0x4000_0000]) {
        asm.li(10, address)
        story.trap(`misaligned superpage at ${address.toString(16)}`, () => asm.emit('ld', 11, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: address,
        })
      }
      story.toMachine()
    },
  },
  {
    name: 'reserved bits of entries fault',
    build(story) {
      const { asm } = story
      story.usualTables()
      const leaf = BigInt(READ_WRITE) | ((BigInt(page(0)) >> 12n) << 10n)
      turnOn(story)
      for (const bit of [54n, 60n, 61n, 62n, 63n]) {
        asm.li(5, LAYOUT.leafTable)
        asm.li(6, leaf | (1n << bit))
        asm.emit('sd', 6, 5, 0)
        asm.emit('sfence.vma', 0, 0)
        story.enter(SUPERVISOR)
        asm.li(10, window(0))
        story.trap(`bit ${bit}`, () => asm.emit('ld', 11, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: window(0),
        })
        story.toMachine()
      }
      // A pointer entry with A, D or U set is reserved too.
      remap(story, 0, page(0), READ_WRITE)
      for (const flag of [PTE.a, PTE.d, PTE.u]) {
        asm.li(5, LAYOUT.middleTable + 8 * (WINDOW / 0x20_0000))
        asm.li(6, ((BigInt(LAYOUT.leafTable) >> 12n) << 10n) | BigInt(PTE.v | flag))
        asm.emit('sd', 6, 5, 0)
        asm.emit('sfence.vma', 0, 0)
        story.enter(SUPERVISOR)
        asm.li(10, window(0))
        story.trap(`pointer with flag ${flag}`, () => asm.emit('ld', 11, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: window(0),
        })
        story.toMachine()
      }
    },
  },
  {
    name: 'accesses that cross from one page to another',
    build(story) {
      const { asm } = story
      story.usualTables()
      // Window pages 0 and 1 lie in frames that do not follow each other; page 2 is not there.
      story.entry(LAYOUT.leafTable, 0, page(2), READ_WRITE)
      story.entry(LAYOUT.leafTable, 1, page(0), READ_WRITE)
      story.entry(LAYOUT.leafTable, 3, page(1), READ_WRITE)
      turnOn(story)
      story.enter(SUPERVISOR)
      const pattern = 0x0807_0605_0403_0201n
      asm.li(11, pattern)
      for (const before of [1, 3, 4, 7]) {
        asm.li(10, window(1) - before)
        asm.emit('sd', 11, 10, 0)
        asm.emit('ld', 12, 10, 0)
        story.log(`eight bytes, ${before} before the boundary`, 12, pattern)
        asm.emit('lhu', 12, 10, before - 1)
        const halves = (pattern >> BigInt(8 * (before - 1))) & 0xffffn
        story.log(`the two around the boundary (${before})`, 12, halves)
      }
      for (const before of [1, 4, 7]) {
        asm.li(10, window(2) - before)
        asm.li(12, 5)
        const value = window(2)
        story.trap(`load into the missing page, ${before} before`, () => asm.emit('ld', 12, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value,
        })
        story.log('the register is as it was', 12, 5)
        asm.emit('lbu', 13, 10, 0)
        story.trap(`store into the missing page, ${before} before`, () => asm.emit('sd', 11, 10, 0), {
          cause: CAUSE.storePage,
          from: SUPERVISOR,
          value,
        })
        asm.emit('lbu', 14, 10, 0)
        asm.emit('sub', 14, 14, 13)
        story.log('and nothing was stored in the present one', 14, 0)
        asm.li(10, window(3) - before)
        const first = window(3) - before
        story.trap(`load from the missing page, ${before} before`, () => asm.emit('ld', 12, 10, 0), {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: first,
        })
        story.trap(`store from the missing page, ${before} before`, () => asm.emit('sd', 11, 10, 0), {
          cause: CAUSE.storePage,
          from: SUPERVISOR,
          value: first,
        })
      }
      story.toMachine()
    },
  },
  {
    name: 'instructions that cross from one page to another',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(3), ALL)
      story.entry(LAYOUT.leafTable, 1, page(1), ALL)
      // ADDI x11, x11, 5 with its halves in frames far apart, then RET; and one whose second half is missing.
      const addi = 0x0055_8593
      asm.li(5, page(3) + PAGE - 2)
      asm.li(6, addi & 0xffff)
      asm.emit('sh', 6, 5, 0)
      asm.li(5, page(1))
      asm.li(6, (addi >>> 16) | (RETURN << 16))
      asm.emit('sw', 6, 5, 0)
      asm.li(5, page(1) + PAGE - 2)
      asm.li(6, addi & 0xffff)
      asm.emit('sh', 6, 5, 0)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(10, window(1) - 2)
      asm.li(11, 1)
      for (let n = 0; n < 3; n++) asm.emit('jalr', 1, 10, 0)
      story.log('three calls', 11, 16)
      asm.li(10, window(2) - 2)
      story.trap('second half missing', () => asm.emit('jalr', 1, 10, 0), {
        cause: CAUSE.fetchPage,
        from: SUPERVISOR,
        value: window(2),
        pc: BigInt(window(2) - 2),
      })
      story.log('it was not executed', 11, 16)
      story.toMachine()
    },
  },
  {
    name: 'after SFENCE.VMA a changed entry holds, for data and for code',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), ALL)
      // Each frame holds a function that returns its own number.
      for (const n of [0, 1, 2]) {
        asm.li(5, page(n))
        asm.li(6, 0x0000_0513 | ((n + 7) << 20))
        asm.emit('sw', 6, 5, 0)
        asm.li(6, RETURN)
        asm.emit('sw', 6, 5, 4)
      }
      asm.emit('fence.i')
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(9, window(0))
      for (const n of [0, 1, 2, 1, 0]) {
        remap(story, 0, page(n), ALL)
        for (let times = 0; times < 3; times++) asm.emit('jalr', 1, 9, 0)
        story.log(`the function of frame ${n}`, 10, n + 7)
        asm.emit('lhu', 10, 9, 2)
        story.log(`its immediate as data ${n}`, 10, (n + 7) << 4)
      }
      // A fence of one address, by register.
      asm.li(5, LAYOUT.leafTable)
      asm.li(6, ((BigInt(page(2)) >> 12n) << 10n) | BigInt(ALL))
      asm.emit('sd', 6, 5, 0)
      asm.emit('sfence.vma', 9, 0)
      asm.emit('jalr', 1, 9, 0)
      story.log('fenced by address', 10, 9)
      story.toMachine()
    },
  },
  {
    name: 'a fence of one address drops that page and needs no other, where there are no superpages',
    build(story) {
      const { asm } = story
      story.smallTables()
      story.entry(LAYOUT.leafTable, 0, page(0), ALL)
      story.entry(LAYOUT.leafTable, 1, page(1), ALL)
      for (const n of [0, 1, 2]) {
        asm.li(5, page(n))
        asm.li(6, 0x0000_0513 | ((n + 7) << 20))
        asm.emit('sw', 6, 5, 0)
        asm.li(6, RETURN)
        asm.emit('sw', 6, 5, 4)
      }
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(9, window(0))
      asm.li(8, window(1))
      for (const n of [0, 2, 1, 0]) {
        asm.li(5, LAYOUT.leafTable)
        asm.li(6, ((BigInt(page(n)) >> 12n) << 10n) | BigInt(ALL))
        asm.emit('sd', 6, 5, 0)
        asm.emit('sfence.vma', 9, 0)
        for (let times = 0; times < 3; times++) asm.emit('jalr', 1, 9, 0)
        story.log(`the function of frame ${n}`, 10, n + 7)
        asm.emit('lhu', 10, 9, 2)
        story.log(`its immediate as data ${n}`, 10, (n + 7) << 4)
        asm.emit('jalr', 1, 8, 0)
        story.log('the other page', 10, 8)
      }
      // Write permission taken away: a store must see it.
      asm.emit('sd', 0, 9, 16)
      asm.li(5, LAYOUT.leafTable)
      asm.li(6, ((BigInt(page(0)) >> 12n) << 10n) | BigInt(ALL & ~PTE.w))
      asm.emit('sd', 6, 5, 0)
      asm.emit('sfence.vma', 9, 0)
      story.trap('store', () => asm.emit('sd', 0, 9, 16), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value: window(0, 16),
      })
      story.toMachine()
    },
  },
  {
    name: 'a function that remaps the page of its caller returns into the new frame',
    build(story) {
      const { asm } = story
      story.smallTables()
      story.entry(LAYOUT.leafTable, 0, page(0), ALL)
      const remapper = asm.label('remapper')
      const over = asm.label()
      asm.emitTo(over, 'jal', 0)
      asm.bind(remapper)
      asm.emit('sd', 6, 5, 0)
      asm.emit('sfence.vma', 11, 0)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      // The caller, once in each frame: it adds the frame's own number when it comes back.
      for (const n of [0, 1]) {
        asm.li(5, page(n))
        const words = [
          encode('addi', 12, 1, 0),
          encode('jalr', 1, 9, 0),
          encode('addi', 10, 10, n === 0 ? 1 : 100),
          encode('jalr', 0, 12, 0),
        ]
        words.forEach((word, at) => {
          asm.li(6, word)
          asm.emit('sw', 6, 5, 4 * at)
        })
      }
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.loadAddress(9, remapper)
      asm.li(8, window(0))
      asm.li(11, window(0))
      asm.li(10, 0)
      let sum = 0
      for (const n of [0, 1, 1, 0, 1, 0, 0, 1]) {
        asm.li(5, LAYOUT.leafTable)
        asm.li(6, ((BigInt(page(n)) >> 12n) << 10n) | BigInt(ALL))
        asm.emit('jalr', 1, 8, 0)
        sum += n === 0 ? 1 : 100
        story.log(`back in frame ${n}`, 10, sum)
      }
      story.toMachine()
    },
  },
  {
    name: 'a page fault delegated to S-mode from user code',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), READ_WRITE)
      story.setCsr(CSR.medeleg, (1 << CAUSE.loadPage) | (1 << CAUSE.storePage) | (1 << CAUSE.fetchPage))
      turnOn(story)
      story.enter(USER, { aliased: true })
      asm.li(10, window(0, 24))
      const delegated = { from: USER, value: window(0, 24), delegated: true } as const
      story.trap('load of a supervisor page', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadPage,
        ...delegated,
      })
      story.trap('store to a supervisor page', () => asm.emit('sb', 11, 10, 0), {
        cause: CAUSE.storePage,
        ...delegated,
      })
      story.trap('fetch from a supervisor page', () => asm.emit('jalr', 1, 10, 0), {
        cause: CAUSE.fetchPage,
        pc: BigInt(window(0, 24)),
        ...delegated,
      })
      story.toMachine()
    },
  },
  {
    name: 'tables outside memory give access faults',
    notInQemu: 'QEMU 7.2 gives page faults',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.middleTable, 7, NOWHERE, PTE.v)
      turnOn(story)
      story.enter(SUPERVISOR)
      const table = 7 * 0x20_0000
      asm.li(10, table)
      story.trap('load', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadAccess,
        from: SUPERVISOR,
        value: table,
      })
      story.trap('store', () => asm.emit('sd', 11, 10, 0), {
        cause: CAUSE.storeAccess,
        from: SUPERVISOR,
        value: table,
      })
      story.toMachine()
    },
  },
  {
    name: 'frames outside memory give access faults',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.middleTable, 8, NOWHERE, READ_WRITE | PTE.x)
      turnOn(story)
      story.enter(SUPERVISOR)
      const frame = 8 * 0x20_0000
      asm.li(10, frame)
      story.trap('load of a frame where nothing is', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadAccess,
        from: SUPERVISOR,
        value: frame,
      })
      story.trap('fetch from a frame where nothing is', () => asm.emit('jalr', 1, 10, 0), {
        cause: CAUSE.fetchAccess,
        from: SUPERVISOR,
        value: frame,
        pc: BigInt(frame),
      })
      story.toMachine()
    },
  },
]
