/** The floating-point unit's state and registers, changed and used by the same piece of code. */
import { CAUSE, CSR, STATUS, SUPERVISOR } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'
import { LAYOUT } from './scenario-layout.ts'

const DYNAMIC = 7
const TOWARDS_ZERO = 1
const INEXACT = 1
const ONE = 0x3ff0_0000_0000_0000n
const TEN = 0x4024_0000_0000_0000n
const TENTH = 0x3fb9_9999_9999_999an
const CANONICAL_SINGLE = 0xffff_ffff_7fc0_0000n
const TURNS = 3

/** Goes to S-mode with the unit on, so that what follows is compiled by itself. */
function begin(story: Story): void {
  story.setBits(CSR.mstatus, STATUS.fs)
  story.enter(SUPERVISOR)
}

function setDouble(story: Story, register: number, bits: bigint): void {
  story.asm.li(5, bits)
  story.asm.emit('fmv.d.x', register, 5)
}

/** Logs all 64 bits of a register. */
function logRaw(story: Story, what: string, register: number, expected: bigint): void {
  story.asm.emit('fmv.x.d', 5, register)
  story.log(what, 5, expected)
}

export const FLOAT_SCENARIOS: readonly Scenario[] = [
  {
    name: 'flags cleared in each turn of a loop are raised again in it',
    build(story) {
      const { asm } = story
      begin(story)
      setDouble(story, 1, ONE)
      setDouble(story, 2, TEN)
      asm.li(9, TURNS)
      asm.li(8, 0)
      const turn = asm.here()
      asm.emit('csrrwi', 0, CSR.fflags, 0)
      asm.emit('fmul.d', 4, 1, 2, DYNAMIC)
      asm.emit('csrrs', 6, CSR.fflags, 0)
      asm.emit('fdiv.d', 3, 1, 2, DYNAMIC)
      asm.emit('fadd.d', 3, 3, 3, DYNAMIC)
      asm.emit('csrrs', 7, CSR.fflags, 0)
      asm.emit('slli', 8, 8, 4)
      asm.emit('add', 8, 8, 7)
      asm.emit('add', 8, 8, 6)
      asm.emit('addi', 9, 9, -1)
      asm.emitTo(turn, 'bne', 9, 0)
      story.log('no flag, then inexact, in each turn', 8, 0x111 * INEXACT)
      logRaw(story, 'twice a tenth', 3, TENTH + (1n << 52n))
      story.toMachine()
    },
  },
  {
    name: 'the rounding mode changed between two operations of a loop',
    build(story) {
      const { asm } = story
      begin(story)
      setDouble(story, 1, ONE)
      setDouble(story, 2, TEN)
      asm.li(9, TURNS)
      const turn = asm.here()
      asm.emit('csrrwi', 0, CSR.frm, 0)
      asm.emit('fdiv.d', 3, 1, 2, DYNAMIC)
      asm.emit('csrrwi', 0, CSR.frm, TOWARDS_ZERO)
      asm.emit('fdiv.d', 4, 1, 2, DYNAMIC)
      asm.emit('fdiv.d', 6, 1, 2, 0)
      asm.emit('addi', 9, 9, -1)
      asm.emitTo(turn, 'bne', 9, 0)
      logRaw(story, 'to nearest', 3, TENTH)
      logRaw(story, 'towards zero', 4, TENTH - 1n)
      logRaw(story, 'to nearest, by the instruction', 6, TENTH)
      story.toMachine()
    },
  },
  {
    name: 'the unit turned off between two operations: the second is illegal, the first is done',
    build(story) {
      const { asm } = story
      begin(story)
      setDouble(story, 1, ONE)
      asm.li(6, STATUS.fs)
      asm.emit('fadd.d', 2, 1, 1, DYNAMIC)
      asm.emit('csrrc', 0, CSR.sstatus, 6)
      story.trap('FADD.D', () => asm.emit('fadd.d', 1, 2, 2, DYNAMIC), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      asm.emit('csrrs', 0, CSR.sstatus, 6)
      logRaw(story, 'twice one', 2, ONE + (1n << 52n))
      logRaw(story, 'as it was', 1, ONE)
      story.toMachine()
    },
  },
  {
    name: 'a dynamic mode that is none, set after operations whose results were trusted',
    build(story) {
      const { asm } = story
      begin(story)
      setDouble(story, 1, ONE)
      setDouble(story, 2, TEN)
      asm.emit('fdiv.d', 3, 1, 2, DYNAMIC)
      asm.emit('fdiv.d', 3, 1, 2, DYNAMIC)
      asm.emit('csrrwi', 0, CSR.frm, 5)
      story.trap('FDIV.D', () => asm.emit('fdiv.d', 3, 2, 1, DYNAMIC), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      story.trap('FCVT.D.L', () => asm.emit('fcvt.d.l', 3, 0, DYNAMIC), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      story.trap('FCVT.D.W', () => asm.emit('fcvt.d.w', 3, 0, DYNAMIC), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      logRaw(story, 'a tenth', 3, TENTH)
      story.toMachine()
    },
  },
  {
    name: 'registers that hold doubles, used as singles: NaN where a number is asked for, their bits where they are moved',
    build(story) {
      const { asm } = story
      story.setBits(CSR.mstatus, STATUS.fs)
      setDouble(story, 10, TENTH)
      setDouble(story, 11, TEN)
      setDouble(story, 12, TENTH)
      asm.li(10, LAYOUT.pages)
      begin(story)
      asm.emit('fcvt.s.l', 1, 10, 0)
      asm.emit('fadd.s', 2, 1, 10, DYNAMIC)
      asm.emit('feq.s', 6, 10, 10)
      asm.emit('fsgnjn.s', 3, 10, 1)
      asm.emit('fmv.x.w', 7, 10)
      asm.emit('fsw', 10, 10, 0)
      asm.emit('fsd', 10, 10, 8)
      // Written on one way only.
      const over = asm.label()
      asm.emitTo(over, 'beq', 6, 0)
      asm.emit('fadd.s', 11, 1, 1, DYNAMIC)
      asm.bind(over)
      asm.emit('fadd.s', 12, 1, 1, DYNAMIC)
      story.log('a NaN is not equal to itself', 6, 0)
      story.log('moved', 7, BigInt.asIntN(32, TENTH))
      story.toMachine()
      logRaw(story, 'sum', 2, CANONICAL_SINGLE)
      logRaw(story, 'sign of the canonical NaN', 3, CANONICAL_SINGLE | (1n << 31n))
      logRaw(story, 'read only', 10, TENTH)
      logRaw(story, 'written on another way', 11, TEN)
      asm.emit('fmv.x.d', 5, 12)
      asm.emit('srli', 5, 5, 32)
      story.log('boxed when written', 5, 0xffff_ffffn)
      asm.emit('lwu', 5, 10, 0)
      story.log('stored as a single', 5, BigInt.asUintN(32, TENTH))
      asm.emit('ld', 5, 10, 8)
      story.log('stored as a double', 5, TENTH)
    },
  },
  {
    name: 'signaling NaNs keep their bits through loads, moves, loops and stores',
    build(story) {
      const { asm } = story
      const double = 0x7ff0_0000_0dea_dbeen
      const single = 0x7f80_beefn
      asm.li(10, LAYOUT.pages)
      asm.li(5, double)
      asm.emit('sd', 5, 10, 0)
      asm.li(5, single)
      asm.emit('sw', 5, 10, 8)
      begin(story)
      asm.emit('csrrwi', 0, CSR.fflags, 0)
      asm.emit('fld', 1, 10, 0)
      asm.emit('flw', 2, 10, 8)
      asm.li(9, TURNS)
      const turn = asm.here()
      asm.emit('fsgnj.d', 3, 1, 1)
      asm.emit('fsgnj.s', 4, 2, 2)
      asm.emit('fsgnjn.d', 1, 3, 3)
      asm.emit('fsgnjn.s', 2, 4, 4)
      asm.emit('addi', 9, 9, -1)
      asm.emitTo(turn, 'bne', 9, 0)
      asm.emit('fsd', 1, 10, 16)
      asm.emit('fsw', 2, 10, 24)
      asm.emit('fsd', 2, 10, 32)
      asm.emit('csrrs', 6, CSR.fflags, 0)
      story.log('no flag', 6, 0)
      for (const [offset, expected] of [
        [16, double | (1n << 63n)],
        [24, single | (1n << 31n)],
        [32, single | (1n << 31n) | 0xffff_ffff_0000_0000n],
      ] as const) {
        asm.emit(offset === 24 ? 'lwu' : 'ld', 5, 10, offset)
        story.log(`stored at ${offset}`, 5, expected)
      }
      story.toMachine()
    },
  },
]
