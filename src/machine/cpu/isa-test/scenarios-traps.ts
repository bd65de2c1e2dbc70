/** Exceptions: illegal instructions, environment calls, floating point turned off, misaligned atomics, access faults. */
import { CAUSE, CSR, STATUS, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario } from './scenario.ts'
import { NOWHERE } from './scenario-layout.ts'

/** Encodings that are reserved in RV64GC with Zba, Zbb and Zbs, by why. */
const ILLEGAL_WORDS: readonly (readonly [string, number])[] = [
  ['all ones', 0xffff_ffff],
  ['unknown major opcode', 0x0000_007f],
  ['JALR with funct3 1', 0x0000_1067],
  ['branch with funct3 2', 0x0000_2063],
  ['load with funct3 7', 0x0000_7003],
  ['store with funct3 4', 0x0000_4023],
  ['OP with an unknown funct7', 0x7e00_0033],
  ['SLLI with bit 26 set', 0x0400_1013],
  ['SLLIW by 32', 0x0200_101b],
  ['OP-32 with funct3 2 and funct7 0', 0x0000_203b],
  ['AMO of 16 bits', 0x0000_102f],
  ['AMO with an unknown funct5', 0x2800_202f],
  ['LR with rs2 not zero', 0x1010_202f],
  ['FADD of the reserved format 2', 0x0400_0053],
  ['FSQRT with rs2 not zero', 0x5810_0053],
  ['FCVT.W.S with rs2 4', 0xc040_0053],
  ['FSGNJ with funct3 3', 0x2000_3053],
  ['FMV.X.W with rs2 1', 0xe010_0053],
  ['FADD.S with static rounding mode 5', 0x0000_5053],
  ['FADD.D with static rounding mode 6', 0x0200_6053],
  ['SYSTEM with funct3 4', 0x0000_4073],
  ['ECALL with rd 1', 0x0000_00f3],
  ['SFENCE.VMA with rd 1', 0x1200_00f3],
  ['MRET with rs1 1', 0x3020_8073],
]

const ILLEGAL_HALVES: readonly (readonly [string, number])[] = [
  ['the all-zero instruction', 0x0000],
  ['C.ADDI4SPN of zero', 0x0004],
  ['quadrant 0, funct3 4', 0x8000],
  ['C.ADDIW to x0', 0x2005],
  ['C.ADDI16SP of zero', 0x6101],
  ['C.LUI of zero', 0x6081],
  ['C.LWSP to x0', 0x4002],
  ['C.LDSP to x0', 0x6002],
  ['C.JR through x0', 0x8002],
  ['quadrant 1 arithmetic, reserved with bit 12', 0x9c41],
]

export const TRAP_SCENARIOS: readonly Scenario[] = [
  {
    name: 'reserved encodings trap as illegal instructions',
    build(story) {
      story.setBits(CSR.mstatus, STATUS.fs)
      for (const [what, word] of ILLEGAL_WORDS)
        story.trap(what, () => story.asm.word(word), { cause: CAUSE.illegal })
      for (const [what, half] of ILLEGAL_HALVES)
        story.trap(what, () => story.asm.half(half), { cause: CAUSE.illegal })
    },
  },
  {
    name: 'a dynamic rounding mode above 4 makes rounding instructions illegal, and only those',
    build(story) {
      const { asm } = story
      story.setBits(CSR.mstatus, STATUS.fs)
      for (const mode of [5, 6, 7]) {
        asm.emit('csrrwi', 0, CSR.frm, mode)
        story.trap(`FADD.S under frm ${mode}`, () => asm.emit('fadd.s', 1, 1, 1, 7), { cause: CAUSE.illegal })
        story.trap(`FCVT.L.D under frm ${mode}`, () => asm.emit('fcvt.l.d', 5, 1, 7), {
          cause: CAUSE.illegal,
        })
        story.trap(`FMADD.D under frm ${mode}`, () => asm.emit('fmadd.d', 1, 1, 1, 1, 7), {
          cause: CAUSE.illegal,
        })
        asm.emit('fadd.s', 1, 1, 1, 0)
        asm.emit('fmin.s', 1, 1, 1)
        asm.emit('feq.d', 5, 1, 1)
        asm.emit('fsgnj.d', 1, 1, 1)
        story.logCsr(`frm holds ${mode}`, CSR.frm, mode)
      }
    },
  },
  {
    name: 'environment calls and breakpoints from every privilege',
    build(story) {
      const { asm } = story
      story.trap('ECALL from M', () => asm.emit('ecall'), { cause: CAUSE.machineCall })
      story.trap('EBREAK from M', () => asm.emit('ebreak'), { cause: CAUSE.breakpoint })
      story.trap('C.EBREAK from M', () => asm.emit('c.ebreak'), { cause: CAUSE.breakpoint })
      for (const [privilege, cause] of [
        [SUPERVISOR, CAUSE.supervisorCall],
        [USER, CAUSE.userCall],
      ] as const) {
        story.enter(privilege)
        story.trap(`ECALL from ${privilege}`, () => asm.emit('ecall'), { cause, from: privilege })
        story.trap(`EBREAK from ${privilege}`, () => asm.emit('ebreak'), {
          cause: CAUSE.breakpoint,
          from: privilege,
        })
        story.trap(`C.EBREAK from ${privilege}`, () => asm.emit('c.ebreak'), {
          cause: CAUSE.breakpoint,
          from: privilege,
        })
        story.toMachine()
      }
    },
  },
  {
    name: 'with FS off every floating-point instruction and CSR is illegal',
    build(story) {
      const { asm } = story
      story.clearBits(CSR.mstatus, STATUS.fs)
      asm.li(10, 0x8002_0800)
      story.trap('FADD.D', () => asm.emit('fadd.d', 1, 2, 3, 0), { cause: CAUSE.illegal })
      story.trap('FMV.X.D', () => asm.emit('fmv.x.d', 5, 1), { cause: CAUSE.illegal })
      story.trap('FMADD.S', () => asm.emit('fmadd.s', 1, 1, 1, 1, 0), { cause: CAUSE.illegal })
      story.trap('FLW', () => asm.emit('flw', 1, 10, 0), { cause: CAUSE.illegal })
      story.trap('FSD', () => asm.emit('fsd', 1, 10, 0), { cause: CAUSE.illegal })
      story.trap('C.FLD', () => asm.emit('c.fld', 8, 10, 0), { cause: CAUSE.illegal })
      story.trap('C.FSDSP', () => asm.emit('c.fsdsp', 8, 0), { cause: CAUSE.illegal })
      for (const csr of [CSR.fflags, CSR.frm, CSR.fcsr]) {
        story.trap(`CSR ${csr}`, () => asm.emit('csrrs', 5, csr, 0), { cause: CAUSE.illegal })
      }
      story.logCsr('SD is clear', CSR.mstatus, 0, STATUS.sd | STATUS.fs)
    },
  },
  {
    name: 'writing floating-point state makes FS dirty',
    build(story) {
      const { asm } = story
      const initial = 1n << 13n
      const dirty = STATUS.fs | STATUS.sd
      asm.li(10, 0x8002_0800)
      const writers: readonly (readonly [string, () => void])[] = [
        ['FADD.D', () => asm.emit('fadd.d', 1, 2, 3, 0)],
        ['FMV.W.X', () => asm.emit('fmv.w.x', 1, 0)],
        ['FLD', () => asm.emit('fld', 1, 10, 0)],
        ['C.FLD', () => asm.emit('c.fld', 9, 10, 0)],
        ['fcsr', () => asm.emit('csrrwi', 0, CSR.fcsr, 0)],
        ['frm', () => asm.emit('csrrwi', 0, CSR.frm, 1)],
      ]
      for (const [what, write] of writers) {
        story.clearBits(CSR.mstatus, STATUS.fs)
        story.setBits(CSR.mstatus, initial)
        story.logCsr('initial', CSR.mstatus, initial, dirty)
        write()
        story.logCsr(`dirty after ${what}`, CSR.mstatus, dirty, dirty)
        story.logCsr(`sstatus shows it too after ${what}`, CSR.sstatus, dirty, dirty)
      }
      story.clearBits(CSR.mstatus, STATUS.fs)
      story.setBits(CSR.mstatus, initial)
      asm.emit('fsd', 1, 10, 0)
      story.logCsr('a store leaves it initial', CSR.mstatus, initial, dirty)
    },
  },
  {
    name: 'a misaligned LR traps, misaligned loads and stores do not',
    build(story) {
      const { asm } = story
      const address = 0x8001_4000
      asm.li(10, address + 1)
      asm.li(11, 0x1122_3344_5566_7788n)
      asm.emit('sd', 11, 10, 0)
      asm.emit('ld', 12, 10, 0)
      story.log('what the misaligned store stored', 12, 0x1122_3344_5566_7788n)
      for (const skew of [1, 2, 3]) {
        asm.li(10, address + skew)
        story.trap(`LR.W at ${skew}`, () => asm.emit('lr.w', 5, 10, 0), {
          cause: CAUSE.loadMisaligned,
          value: address + skew,
        })
      }
      asm.li(10, address + 4)
      story.trap('LR.D at 4', () => asm.emit('lr.d', 5, 10, 0), {
        cause: CAUSE.loadMisaligned,
        value: address + 4,
      })
      asm.emit('amoadd.w', 5, 0, 10, 0)
    },
  },
  {
    name: 'AMOs fault as stores, even those that would fail on their load',
    notInQemu: 'QEMU 7.2 reports the load of an AMO',
    build(story) {
      const { asm } = story
      const address = 0x8001_4000
      asm.li(12, 5)
      for (const skew of [1, 2, 3]) {
        asm.li(10, address + skew)
        const expected = { cause: CAUSE.storeMisaligned, value: address + skew }
        story.trap(`AMOADD.W at ${skew}`, () => asm.emit('amoadd.w', 5, 12, 10, 0), expected)
        story.trap(`SC.W at ${skew}`, () => asm.emit('sc.w', 5, 12, 10, 0), expected)
      }
      asm.li(10, address + 4)
      story.trap('AMOSWAP.D at 4', () => asm.emit('amoswap.d', 5, 12, 10, 3), {
        cause: CAUSE.storeMisaligned,
        value: address + 4,
      })
      asm.li(10, NOWHERE)
      story.trap('AMOADD.W nowhere', () => asm.emit('amoadd.w', 5, 12, 10, 0), {
        cause: CAUSE.storeAccess,
        value: NOWHERE,
      })
      story.trap('AMOMAXU.D nowhere', () => asm.emit('amomaxu.d', 5, 12, 10, 0), {
        cause: CAUSE.storeAccess,
        value: NOWHERE,
      })
    },
  },
  {
    name: 'CSRRS with a register that holds zero is still a write',
    notInQemu: 'QEMU 7.2 looks at the value instead of the register number',
    build(story) {
      const { asm } = story
      asm.li(10, 0)
      story.trap('CSRRS', () => asm.emit('csrrs', 5, CSR.mvendorid, 10), { cause: CAUSE.illegal })
      story.trap('CSRRC', () => asm.emit('csrrc', 5, CSR.mvendorid, 10), { cause: CAUSE.illegal })
    },
  },
  {
    name: 'accesses to physical addresses where nothing is',
    build(story) {
      const { asm } = story
      asm.li(10, NOWHERE)
      asm.li(12, 77)
      story.trap('load', () => asm.emit('ld', 12, 10, 16), { cause: CAUSE.loadAccess, value: NOWHERE + 16 })
      story.log('a load that traps writes no register', 12, 77)
      story.trap('store', () => asm.emit('sw', 12, 10, 4), { cause: CAUSE.storeAccess, value: NOWHERE + 4 })
      const landing = BigInt(NOWHERE)
      story.trap('fetch', () => asm.emit('jalr', 13, 10, 0), {
        cause: CAUSE.fetchAccess,
        value: NOWHERE,
        pc: landing,
      })
    },
  },
  {
    name: 'unknown and read-only CSRs',
    build(story) {
      const { asm } = story
      story.trap('unknown', () => asm.emit('csrrs', 5, 0x5c0, 0), { cause: CAUSE.illegal })
      story.trap('unknown, written', () => asm.emit('csrrw', 0, 0x7c0, 5), { cause: CAUSE.illegal })
      story.trap('mvendorid written', () => asm.emit('csrrw', 5, CSR.mvendorid, 0), { cause: CAUSE.illegal })
      story.trap('cycle written', () => asm.emit('csrrwi', 5, CSR.cycle, 0), { cause: CAUSE.illegal })
      asm.emit('csrrsi', 5, CSR.mhartid, 0)
      story.log('mhartid read by CSRRSI of zero', 5, 0)
      asm.emit('csrrci', 5, CSR.mhartid, 0)
      story.log('mhartid read by CSRRCI of zero', 5, 0)
    },
  },
  {
    name: 'an exception in the middle leaves the registers before it',
    build(story) {
      const { asm } = story
      asm.li(10, NOWHERE)
      asm.li(5, 0)
      asm.li(6, 1)
      // One straight run with the fault inside, so that a compiled region must give back exact registers.
      for (let n = 0; n < 5; n++) asm.emit('add', 5, 5, 6)
      story.trap('load', () => asm.emit('lw', 6, 10, 0), { cause: CAUSE.loadAccess, value: NOWHERE })
      story.log('the sum so far', 5, 5)
      story.log('the register the load would have written', 6, 1)
      const loop = asm.label()
      asm.li(7, 10)
      asm.li(5, 0)
      asm.bind(loop)
      asm.emit('addi', 5, 5, 3)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      story.trap('illegal after a loop', () => asm.half(0), { cause: CAUSE.illegal })
      story.log('the loop ran', 5, 30)
    },
  },
  {
    name: 'mtvec in direct and vectored mode',
    build(story) {
      const { asm } = story
      const table = asm.label('vectors')
      const done = asm.label()
      asm.loadAddress(5, table)
      asm.emit('addi', 5, 5, 1)
      asm.emit('csrrw', 0, CSR.mtvec, 5)
      asm.loadAddress(27, done)
      asm.li(9, 0)
      // Machine software interrupt pending through the CLINT, then enabled: goes to vector 3.
      asm.li(6, 0x0200_0000)
      asm.li(7, 1)
      asm.emit('sw', 7, 6, 0)
      story.setCsr(CSR.mie, 1 << 3)
      asm.emit('csrrsi', 0, CSR.mstatus, 8)
      const spin = asm.here()
      asm.emitTo(spin, 'jal', 0)
      asm.align(256)
      asm.bind(table)
      const vectors = Array.from({ length: 12 }, () => asm.label())
      for (const vector of vectors) asm.emitTo(vector, 'jal', 0)
      for (const [cause, vector] of vectors.entries()) {
        asm.bind(vector)
        asm.emit('addi', 9, 9, 100 + cause)
        asm.emit('csrrw', 0, CSR.mie, 0)
        asm.emit('csrrw', 0, CSR.mepc, 27)
        asm.emit('mret')
      }
      asm.bind(done)
      story.log('vector of the machine software interrupt', 9, 103)
      asm.emit('sw', 0, 6, 0)
      const second = asm.label()
      asm.loadAddress(27, second)
      asm.li(9, 0)
      asm.half(0)
      asm.bind(second)
      story.log('exceptions go to the base', 9, 100)
      story.logCsr('mode bits', CSR.mtvec, 1, 3n)
    },
  },
]
