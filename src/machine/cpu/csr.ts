/**
 * Control and status registers (The RISC-V Instruction Set Manual, Volume II, chapters 2, 3 and 10).
 *
 * One table says for each register how it is read, which bits a write changes, and what else a write does. The
 * numbers themselves tell who may access it: bits 9:8 the lowest privilege, bits 11:10 both set for read-only.
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { CAUSE, raise, readField, writeControl, writeField, ZERO } from './access.ts'
import { BLOCK_ENABLE } from './cache-block.ts'
import type { CoreFunctions } from './core-functions.ts'
import type { FieldName } from './state.ts'
import { STATUS } from './status.ts'
import { attendToInterrupts } from './traps.ts'

interface Register {
  readonly number: number
  readonly read: (core: CoreFunctions, budget: Expr) => Expr
  /** Absent for registers whose every bit is read-only but which may be "written". */
  readonly write?: (f: FunctionBuilder, value: Expr, core: CoreFunctions, budget: Expr) => void
}

export const INTERRUPT = {
  ssip: 1 << 1,
  msip: 1 << 3,
  stip: 1 << 5,
  mtip: 1 << 7,
  seip: 1 << 9,
  meip: 1 << 11,
} as const
const SUPERVISOR_INTERRUPTS = INTERRUPT.ssip | INTERRUPT.stip | INTERRUPT.seip
const ALL_INTERRUPTS = SUPERVISOR_INTERRUPTS | INTERRUPT.msip | INTERRUPT.mtip | INTERRUPT.meip

/** Exceptions that may be delegated: all but an environment call from M-mode. */
const DELEGABLE = 0xb3ff

/** menvcfg.STCE: the supervisor timer compares with stimecmp (Sstc). */
const ENVIRONMENT_STCE = 1n << 63n
const INVALIDATE_RESERVED = 2 << 4
const ENVIRONMENT_BLOCKS = BLOCK_ENABLE.invalidate | BLOCK_ENABLE.cleanOrFlush | BLOCK_ENABLE.zero
const FS_DIRTY = STATUS.fs
const UXL_SXL_64 = 0xa00000000n
const STATUS_WRITABLE =
  STATUS.sie |
  STATUS.mie |
  STATUS.spie |
  STATUS.mpie |
  STATUS.spp |
  STATUS.mpp |
  STATUS.fs |
  STATUS.mprv |
  STATUS.sum |
  STATUS.mxr |
  STATUS.tvm |
  STATUS.tw |
  STATUS.tsr
const SUPERVISOR_STATUS_WRITABLE = STATUS.sie | STATUS.spie | STATUS.spp | STATUS.fs | STATUS.sum | STATUS.mxr
const SUPERVISOR_STATUS_READABLE = BigInt(SUPERVISOR_STATUS_WRITABLE) | 0x300000000n

function plain(
  number: number,
  name: FieldName,
  writable: bigint,
  then?: (f: FunctionBuilder, core: CoreFunctions) => void,
): Register {
  return {
    number,
    read: () => readField(name),
    write: (f, value, core) => {
      writeField(f, name, merge(readField(name), value, writable))
      then?.(f, core)
    },
  }
}

/** menvcfg or senvcfg: what is allowed in the next lower modes. */
function environment(
  number: number,
  name: 'menvcfg' | 'senvcfg',
  writable: bigint,
  then: (f: FunctionBuilder) => void = () => undefined,
): Register {
  return {
    number,
    read: () => readField(name),
    write: (f, value) => {
      const next = f.keep(merge(readField(name), value, writable))
      const field = i64.and(next.get, i64.const(BLOCK_ENABLE.invalidate))
      // CBIE = 2 is reserved: the field keeps its value (WARL).
      f.if(i64.eq(field, i64.const(INVALIDATE_RESERVED)), () =>
        f.set(next, merge(next.get, readField(name), BigInt(BLOCK_ENABLE.invalidate))),
      )
      writeField(f, name, next.get)
      then(f)
    },
  }
}

function constantRegister(number: number, value: number | bigint): Register {
  return { number, read: () => i64.const(value), write: () => undefined }
}

/** Takes the writable bits from `value`, the others from `old`. */
function merge(old: Expr, value: Expr, writable: bigint): Expr {
  if (writable === ALL) return value
  return i64.or(i64.and(old, i64.const(~writable)), i64.and(value, i64.const(writable)))
}

const ALL = 0xffffffffffffffffn
const attention = (f: FunctionBuilder): void => writeControl(f, 'attention', i32.const(1))

/** mstatus as read: SD (bit 63) summarises FS. */
function statusValue(): Expr {
  const dirty = i64.eq(i64.and(readField('mstatus'), i64.const(FS_DIRTY)), i64.const(FS_DIRTY))
  return i64.or(readField('mstatus'), i64.shl(i64.extendU(dirty), i64.const(63)))
}

function writeStatus(
  f: FunctionBuilder,
  core: CoreFunctions,
  value: Expr,
  writable: number,
  budget: Expr,
): void {
  const next = f.keep(i64.or(merge(readField('mstatus'), value, BigInt(writable)), i64.const(UXL_SXL_64)))
  // MPP = 2 is reserved: the field keeps its value (WARL).
  f.if(i64.eq(i64.and(next.get, i64.const(STATUS.mpp)), i64.const(2 << 11)), () =>
    f.set(
      next,
      i64.or(i64.and(next.get, i64.const(~STATUS.mpp)), i64.and(readField('mstatus'), i64.const(STATUS.mpp))),
    ),
  )
  writeField(f, 'mstatus', next.get)
  core.do(f, 'setMode')
  attendToInterrupts(f, core, budget)
}

/** A counter runs with the retired count; writing it sets an offset. */
function counter(number: number, offset: 'minstretOffset' | 'mcycleOffset', writable: boolean): Register {
  const value = (budget: Expr): Expr => i64.add(retired(budget), readField(offset))
  if (!writable) return { number, read: (_core, budget) => value(budget) }
  return {
    number,
    read: (_core, budget) => value(budget),
    // The next instruction reads what was written: the writing one does not count.
    write: (f, v, _core, budget) => writeField(f, offset, i64.sub(v, i64.add(retired(budget), i64.const(1)))),
  }
}

/** Instructions retired before the one now executing: its own unit is already taken from the budget. */
export function retired(budget: Expr): Expr {
  return i64.sub(i64.sub(readField('retiredLimit'), i64.extendU(budget)), i64.const(1))
}

const DELEGATED = (): Expr => readField('mideleg')

const registers: readonly Register[] = [
  {
    number: 0x001,
    read: () => i64.and(readField('fcsr'), i64.const(0x1f)),
    write: (f, v) => writeField(f, 'fcsr', merge(readField('fcsr'), v, 0x1fn)),
  },
  {
    number: 0x002,
    read: () => i64.shrU(readField('fcsr'), i64.const(5)),
    write: (f, v) => writeField(f, 'fcsr', merge(readField('fcsr'), i64.shl(v, i64.const(5)), 0xe0n)),
  },
  plain(0x003, 'fcsr', 0xffn),
  counter(0xc00, 'mcycleOffset', false),
  { number: 0xc01, read: (core, budget) => core.call('clock', i32.add(budget, i32.const(1))) },
  counter(0xc02, 'minstretOffset', false),

  {
    number: 0x100,
    read: () => i64.and(statusValue(), i64.const(SUPERVISOR_STATUS_READABLE | (1n << 63n))),
    write: (f, v, core, budget) => writeStatus(f, core, v, SUPERVISOR_STATUS_WRITABLE, budget),
  },
  {
    number: 0x104,
    read: () => i64.and(readField('mie'), DELEGATED()),
    write: (f, v) => {
      writeField(
        f,
        'mie',
        i64.or(i64.and(readField('mie'), i64.xor(DELEGATED(), i64.const(-1))), i64.and(v, DELEGATED())),
      )
      attention(f)
    },
  },
  plain(0x105, 'stvec', ~2n & ALL),
  plain(0x106, 'scounteren', 7n),
  environment(0x10a, 'senvcfg', BigInt(ENVIRONMENT_BLOCKS)),
  plain(0x140, 'sscratch', ALL),
  plain(0x141, 'sepc', ~1n & ALL),
  plain(0x142, 'scause', ALL),
  plain(0x143, 'stval', ALL),
  {
    number: 0x144,
    read: (core, budget) => i64.and(core.call('pending', i32.add(budget, i32.const(1))), DELEGATED()),
    write: (f, v) => {
      const writable = i64.and(DELEGATED(), i64.const(INTERRUPT.ssip))
      writeField(
        f,
        'mip',
        i64.or(i64.and(readField('mip'), i64.xor(writable, i64.const(-1))), i64.and(v, writable)),
      )
      attention(f)
    },
  },
  plain(0x14d, 'stimecmp', ALL, attention),
  {
    number: 0x180,
    read: () => readField('satp'),
    write: (f, v, core) => {
      // Modes other than Bare and Sv39 leave the register unchanged; there are no address-space identifiers.
      const mode = f.keep(i64.shrU(v, i64.const(60)))
      f.if(i32.or(i64.eqz(mode.get), i64.eq(mode.get, i64.const(8))), () => {
        const next = f.keep(i64.and(v, i64.const(0xf0000fffffffffffn)))
        f.if(i64.ne(next.get, readField('satp')), () => {
          writeField(f, 'satp', next.get)
          core.do(f, 'flushTlbs')
          // Compiled code must be left: its page may be another one now.
          attention(f)
        })
      })
    },
  },

  constantRegister(0xf11, 0),
  constantRegister(0xf12, 0),
  constantRegister(0xf13, 0),
  constantRegister(0xf14, 0),
  constantRegister(0xf15, 0),
  {
    number: 0x300,
    read: () => statusValue(),
    write: (f, v, core, budget) => writeStatus(f, core, v, STATUS_WRITABLE, budget),
  },
  plain(0x301, 'misa', 0n),
  plain(0x302, 'medeleg', BigInt(DELEGABLE)),
  plain(0x303, 'mideleg', BigInt(SUPERVISOR_INTERRUPTS), attention),
  plain(0x304, 'mie', BigInt(ALL_INTERRUPTS), attention),
  plain(0x305, 'mtvec', ~2n & ALL),
  plain(0x306, 'mcounteren', 7n),
  environment(0x30a, 'menvcfg', ENVIRONMENT_STCE | BigInt(ENVIRONMENT_BLOCKS), attention),
  constantRegister(0x320, 0),
  plain(0x340, 'mscratch', ALL),
  plain(0x341, 'mepc', ~1n & ALL),
  plain(0x342, 'mcause', ALL),
  plain(0x343, 'mtval', ALL),
  {
    number: 0x344,
    read: (core, budget) => core.call('pending', i32.add(budget, i32.const(1))),
    write: (f, v) => {
      // SEIP is the OR of the interrupt controller's line and a bit of software's own (Volume II, 3.1.9).
      writeField(f, 'softwareSeip', i64.and(v, i64.const(INTERRUPT.seip)))
      writeField(f, 'mip', merge(readField('mip'), v, BigInt(INTERRUPT.ssip | INTERRUPT.stip)))
      attention(f)
    },
  },
  counter(0xb00, 'mcycleOffset', true),
  counter(0xb02, 'minstretOffset', true),
]

/** Registers that exist and read as zero: no physical memory protection, no performance counters beyond the fixed ones. */
const zeroRanges: readonly (readonly [number, number])[] = [
  [0x323, 0x33f],
  [0x3a0, 0x3ef],
  [0xb03, 0xb1f],
  [0xc03, 0xc1f],
]

/** Runs `body` of the register whose number `number` has; `otherwise` if there is none. A binary search over the table. */
function dispatch(
  f: FunctionBuilder,
  number: Expr,
  body: (register: Register) => void,
  otherwise: () => void,
): void {
  const sorted = [...registers].sort((a, b) => a.number - b.number)
  const search = (low: number, high: number): void => {
    if (high - low === 1) {
      f.if(i32.eq(number, i32.const(sorted[low].number)), () => body(sorted[low]), otherwise)
      return
    }
    const middle = (low + high) >> 1
    f.if(
      i32.ltU(number, i32.const(sorted[middle].number)),
      () => search(low, middle),
      () => search(middle, high),
    )
  }
  search(0, sorted.length)
}

export function defineCsrs(core: CoreFunctions): void {
  core.define('clock', (f, budget) => {
    const elapsed = i64.sub(
      i64.sub(readField('retiredLimit'), i64.extendU(budget)),
      readField('sliceRetired'),
    )
    f.return(
      i64.add(readField('sliceClock'), i64.shrU(i64.mul(elapsed, readField('sliceRate')), i64.const(32))),
    )
  })

  // Timer interrupts are a function of the clock, never stored: so looking at them more often changes nothing.
  core.define('pending', (f, budget) => {
    const now = f.keep(core.call('clock', budget))
    const bits = f.keep(i64.or(readField('mip'), readField('softwareSeip')))
    f.if(i64.ltS(readField('menvcfg'), i64.const(0)), () =>
      f.set(bits, i64.and(bits.get, i64.const(~INTERRUPT.stip))),
    )
    const due = (comparator: FieldName, bit: number): Expr =>
      i64.mul(i64.extendU(i64.geU(now.get, readField(comparator))), i64.const(bit))
    f.if(i64.ltS(readField('menvcfg'), i64.const(0)), () =>
      f.set(bits, i64.or(bits.get, due('stimecmp', INTERRUPT.stip))),
    )
    f.return(i64.or(bits.get, due('mtimecmp', INTERRUPT.mtip)))
  })

  core.define('modifiable', (f, number, value) => {
    f.if(i32.ne(number, i32.const(0x344)), () => f.return(value))
    f.return(i64.or(i64.and(value, i64.const(~INTERRUPT.seip)), readField('softwareSeip')))
  })

  core.define('readCsr', (f, number, willWrite, budget) => {
    writeControl(f, 'fault', ZERO)
    const illegal = (): void => {
      raise(f, i64.const(CAUSE.illegalInstruction), i64.const(0))
      f.return(i64.const(0))
    }
    const privilege = f.keep(i32.wrap(readField('privilege')))
    f.if(i32.ltU(privilege.get, i32.and(i32.shrU(number, i32.const(8)), i32.const(3))), illegal)
    f.if(i32.and(willWrite, i32.eq(i32.shrU(number, i32.const(10)), i32.const(3))), illegal)
    // Floating-point registers need the unit to be on.
    f.if(i32.ltU(i32.sub(number, i32.const(1)), i32.const(3)), () => {
      f.if(i64.eqz(i64.and(readField('mstatus'), i64.const(STATUS.fs))), illegal)
    })
    // satp is trapped for a hypervisor below by TVM.
    f.if(
      i32.and(
        i32.eq(number, i32.const(0x180)),
        i32.and(
          i32.eq(privilege.get, i32.const(1)),
          i32.ne(i32.and(i32.wrap(readField('mstatus')), i32.const(STATUS.tvm)), ZERO),
        ),
      ),
      illegal,
    )
    // Counters: mcounteren guards them from S and U, scounteren from U as well.
    const isCounter = i32.eq(i32.and(number, i32.const(0xfe0)), i32.const(0xc00))
    f.if(isCounter, () => {
      const allowed = f.keep(
        i64.or(
          select(i32.eq(privilege.get, i32.const(3)), i64.const(-1), i64.const(0)),
          readField('mcounteren'),
        ),
      )
      f.if(i32.eqz(privilege.get), () => f.set(allowed, i64.and(allowed.get, readField('scounteren'))))
      f.if(
        i64.eqz(i64.and(i64.shrU(allowed.get, i64.extendU(i32.and(number, i32.const(31)))), i64.const(1))),
        illegal,
      )
    })
    // stimecmp: S-mode needs menvcfg.STCE and mcounteren.TM (Sstc, chapter 2).
    f.if(i32.and(i32.eq(number, i32.const(0x14d)), i32.ne(privilege.get, i32.const(3))), () => {
      f.if(
        i64.eqz(
          i64.and(
            i64.shrU(readField('menvcfg'), i64.const(62)),
            i64.and(readField('mcounteren'), i64.const(2)),
          ),
        ),
        illegal,
      )
    })
    dispatch(
      f,
      number,
      (register) => f.return(register.read(core, budget)),
      () => {
        for (const [low, high] of zeroRanges) {
          f.if(i32.leU(i32.sub(number, i32.const(low)), i32.const(high - low)), () => f.return(i64.const(0)))
        }
        illegal()
      },
    )
    f.unreachable()
  })

  core.define('writeCsr', (f, number, value, budget) => {
    // The unit's registers changing makes its state dirty.
    f.if(i32.ltU(i32.sub(number, i32.const(1)), i32.const(3)), () =>
      writeField(f, 'mstatus', i64.or(readField('mstatus'), i64.const(STATUS.fs))),
    )
    dispatch(
      f,
      number,
      (register) => register.write?.(f, value, core, budget),
      () => undefined,
    )
  })
}
