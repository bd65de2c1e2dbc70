/** Sv39: who may do what with a page, and the status bits that change it: SUM, MXR, MPRV. */
import { CAUSE, CSR, type Privilege, PTE, STATUS, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'
import { LAYOUT } from './scenario-layout.ts'
import { ALL, page, READ_WRITE, RETURN, remap, turnOn, window } from './sv39-window.ts'

interface Refusal {
  readonly what: string
  readonly flags: number
  readonly physical?: number
  readonly load: boolean
  readonly store: boolean
  readonly fetch: boolean
}

/** Leaf entries and which accesses of S-mode they refuse. */
const REFUSALS: readonly Refusal[] = [
  { what: 'not valid', flags: ALL & ~PTE.v, load: true, store: true, fetch: true },
  { what: 'read only', flags: PTE.v | PTE.r | PTE.a | PTE.d, load: false, store: true, fetch: true },
  { what: 'read and write', flags: READ_WRITE, load: false, store: false, fetch: true },
  { what: 'execute only', flags: PTE.v | PTE.x | PTE.a | PTE.d, load: true, store: true, fetch: false },
  {
    what: 'read and execute',
    flags: PTE.v | PTE.r | PTE.x | PTE.a | PTE.d,
    load: false,
    store: true,
    fetch: false,
  },
  { what: 'write without read', flags: PTE.v | PTE.w | PTE.a | PTE.d, load: true, store: true, fetch: true },
  {
    what: 'write and execute without read',
    flags: PTE.v | PTE.w | PTE.x | PTE.a | PTE.d,
    load: true,
    store: true,
    fetch: true,
  },
  { what: 'a pointer at the last level', flags: PTE.v, load: true, store: true, fetch: true },
  { what: 'a user page', flags: ALL | PTE.u, load: true, store: true, fetch: true },
  { what: 'a global page', flags: ALL | PTE.g, load: false, store: false, fetch: false },
]

/** Tries a load, a store and a fetch at a window page, in the running mode, and expects what is refused. */
function tryAll(story: Story, index: number, { what, load, store, fetch }: Refusal, from: Privilege): void {
  const { asm } = story
  const address = window(index, 8)
  const attempt = (name: string, refused: boolean, cause: number, emit: () => void, pc?: bigint) => {
    if (refused)
      story.trap(`${name}: ${what}`, emit, {
        cause,
        from,
        value: address,
        ...(pc === undefined ? {} : { pc }),
      })
    else emit()
  }
  asm.li(10, address)
  attempt('load', load, CAUSE.loadPage, () => asm.emit('lw', 11, 10, 0))
  attempt('store', store, CAUSE.storePage, () => asm.emit('sw', 12, 10, 0))
  attempt('AMO', store || load, CAUSE.storePage, () => asm.emit('amoswap.w', 11, 12, 10, 0))
  attempt('fetch', fetch, CAUSE.fetchPage, () => asm.emit('jalr', 1, 10, 0), BigInt(address))
}

export const PERMISSION_SCENARIOS: readonly Scenario[] = [
  {
    name: 'permissions of S-mode pages',
    build(story) {
      const { asm } = story
      story.usualTables()
      asm.li(5, page(0))
      // RET, twice, at the place that fetches go to: word 8 of the page.
      asm.li(12, RETURN | (RETURN << 16))
      asm.emit('sw', 12, 5, 8)
      turnOn(story)
      for (const refusal of REFUSALS) {
        remap(story, 0, page(0), refusal.flags)
        story.enter(SUPERVISOR)
        tryAll(story, 0, refusal, SUPERVISOR)
        story.toMachine()
      }
    },
    // An execute-only page refuses the load half of an AMO with a load fault there.
    notInQemu: 'QEMU 7.2 reports some faults of AMOs as those of loads',
  },
  {
    name: 'permissions of user pages',
    notInQemu: 'QEMU 7.2 reports some faults of AMOs as those of loads',
    build(story) {
      const { asm } = story
      story.usualTables()
      asm.li(5, page(0))
      asm.li(12, RETURN | (RETURN << 16))
      asm.emit('sw', 12, 5, 8)
      turnOn(story)
      const user: Refusal[] = REFUSALS.filter(({ what }) => !what.includes('user')).map((refusal) => ({
        ...refusal,
        // A pointer with U set is reserved, so no leaf either way.
        flags: refusal.flags | PTE.u,
      }))
      user.push({ what: 'a supervisor page', flags: ALL, load: true, store: true, fetch: true })
      for (const refusal of user) {
        remap(story, 0, page(0), refusal.flags)
        story.enter(USER, { aliased: true })
        tryAll(story, 0, refusal, USER)
        story.toMachine()
      }
    },
  },
  {
    name: 'loads, stores and fetches that pages refuse, without AMOs',
    build(story) {
      const { asm } = story
      story.usualTables()
      asm.li(5, page(0))
      asm.li(12, RETURN | (RETURN << 16))
      asm.emit('sw', 12, 5, 8)
      turnOn(story)
      for (const { what, flags, load, store, fetch } of REFUSALS) {
        remap(story, 0, page(0), flags)
        story.enter(SUPERVISOR)
        asm.li(10, window(0, 8))
        const value = window(0, 8)
        if (load)
          story.trap(`load: ${what}`, () => asm.emit('lhu', 11, 10, 0), {
            cause: CAUSE.loadPage,
            from: SUPERVISOR,
            value,
          })
        if (store)
          story.trap(`store: ${what}`, () => asm.emit('sd', 12, 10, 0), {
            cause: CAUSE.storePage,
            from: SUPERVISOR,
            value,
          })
        if (fetch) {
          story.trap(`fetch: ${what}`, () => asm.emit('jalr', 1, 10, 0), {
            cause: CAUSE.fetchPage,
            from: SUPERVISOR,
            value,
            pc: BigInt(value),
          })
        }
        story.toMachine()
      }
    },
  },
  {
    name: 'SUM lets S-mode touch user data, never run user code',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), ALL | PTE.u)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(10, window(0))
      asm.li(11, 42)
      story.trap('store without SUM', () => asm.emit('sd', 11, 10, 0), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value: window(0),
      })
      story.setBits(CSR.sstatus, STATUS.sum)
      story.trap('fetch under SUM', () => asm.emit('jalr', 1, 10, 0), {
        cause: CAUSE.fetchPage,
        from: SUPERVISOR,
        value: window(0),
        pc: BigInt(window(0)),
      })
      asm.emit('sd', 11, 10, 0)
      asm.emit('ld', 12, 10, 0)
      story.log('stored and loaded under SUM', 12, 42)
      story.clearBits(CSR.sstatus, STATUS.sum)
      story.trap('load without SUM again', () => asm.emit('ld', 12, 10, 0), {
        cause: CAUSE.loadPage,
        from: SUPERVISOR,
        value: window(0),
      })
      story.toMachine()
    },
  },
  {
    name: 'MXR makes executable pages readable',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), PTE.v | PTE.x | PTE.a | PTE.d)
      asm.li(5, page(0))
      asm.li(6, 1234)
      asm.emit('sd', 6, 5, 0)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(10, window(0))
      story.trap('load without MXR', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadPage,
        from: SUPERVISOR,
        value: window(0),
      })
      story.setBits(CSR.sstatus, STATUS.mxr)
      asm.emit('ld', 11, 10, 0)
      story.log('loaded under MXR', 11, 1234)
      story.trap('store under MXR', () => asm.emit('sd', 11, 10, 0), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value: window(0),
      })
      story.clearBits(CSR.sstatus, STATUS.mxr)
      story.trap('load without MXR again', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadPage,
        from: SUPERVISOR,
        value: window(0),
      })
      story.toMachine()
    },
  },
  {
    name: 'MPRV gives M-mode the eyes of MPP',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), READ_WRITE)
      story.entry(LAYOUT.leafTable, 1, page(1), READ_WRITE | PTE.u)
      for (const n of [0, 1]) {
        asm.li(5, page(n))
        asm.li(6, 500 + n)
        asm.emit('sd', 6, 5, 0)
      }
      turnOn(story)
      asm.li(10, window(0))
      asm.li(11, window(1))
      asm.li(7, STATUS.mprv)
      // Between setting and clearing MPRV nothing but the access: the log is not mapped for U.
      const peek = (what: string, register: number, mode: Privilege, expected: number) => {
        story.clearBits(CSR.mstatus, STATUS.mpp)
        story.setBits(CSR.mstatus, BigInt(mode) << 11n)
        asm.emit('csrrs', 0, CSR.mstatus, 7)
        asm.emit('ld', 12, register, 0)
        asm.emit('csrrc', 0, CSR.mstatus, 7)
        story.log(what, 12, expected)
      }
      peek('supervisor page as S', 10, SUPERVISOR, 500)
      peek('user page as U', 11, USER, 501)
      // Refused: the handler runs with MPRV and MPP = M, so its own stores are physical.
      for (const [what, register, mode, value] of [
        ['user page as S', 11, SUPERVISOR, window(1)],
        ['supervisor page as U', 10, USER, window(0)],
      ] as const) {
        story.clearBits(CSR.mstatus, STATUS.mpp)
        story.setBits(CSR.mstatus, BigInt(mode) << 11n)
        story.trap(
          what,
          () => {
            asm.emit('csrrs', 0, CSR.mstatus, 7)
            asm.emit('ld', 12, register, 0)
          },
          { cause: CAUSE.loadPage, value, pcOffset: 4 },
        )
        story.clearBits(CSR.mstatus, STATUS.mprv)
      }
    },
  },
  {
    name: 'accessed and dirty bits are the software’s (Svade)',
    notInQemu: 'QEMU 7.2 sets the bits itself',
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), ALL & ~PTE.a & ~PTE.d)
      story.entry(LAYOUT.leafTable, 1, page(1), ALL & ~PTE.d)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(10, window(0))
      const value = window(0)
      story.trap('load without A', () => asm.emit('ld', 11, 10, 0), {
        cause: CAUSE.loadPage,
        from: SUPERVISOR,
        value,
      })
      story.trap('store without A', () => asm.emit('sd', 11, 10, 0), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value,
      })
      story.trap('fetch without A', () => asm.emit('jalr', 1, 10, 0), {
        cause: CAUSE.fetchPage,
        from: SUPERVISOR,
        value,
        pc: BigInt(value),
      })
      asm.li(10, window(1))
      asm.emit('ld', 11, 10, 0)
      story.trap('store without D', () => asm.emit('sd', 11, 10, 0), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value: window(1),
      })
      story.trap('AMO without D', () => asm.emit('amoadd.d', 11, 0, 10, 0), {
        cause: CAUSE.storePage,
        from: SUPERVISOR,
        value: window(1),
      })
      asm.li(5, LAYOUT.leafTable)
      asm.emit('ld', 6, 5, 0)
      story.log(
        'the entry is as it was',
        6,
        ((BigInt(page(0)) >> 12n) << 10n) | BigInt(ALL & ~PTE.a & ~PTE.d),
      )
      story.toMachine()
    },
  },
]
