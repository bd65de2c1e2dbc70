/**
 * The floating-point unit in a region: its registers in locals, its state looked at once for each way.
 *
 * A register that the region uses only for singles is an f32 and the upper half of its 64 bits; any other is an f64,
 * whatever it holds. Loads, stores and moves between locals keep the bits of a NaN (WebAssembly Core Specification,
 * 4.3.3: only arithmetic may change them; a test holds the host to it).
 *
 * One local says what the unit's state allows: -1 when an instruction that changes the unit must be left to the
 * interpreter (mstatus.FS is not Dirty), 0 when every result must be computed exactly, else the number of exponents
 * with which a result of the host may be trusted. It is derived at the entry, after calls and after whatever may
 * have changed control registers or flags.
 */
import { type Expr, f32, f64, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { readField, ZERO } from './access.ts'
import { type FactChanges, factFlow, needFlow } from './float-flow.ts'
import { F32, F64, type Format, NX, trustedExponentCount } from './fp/format.ts'
import type { Block, PlacedInstruction } from './region-graph.ts'
import { type RegionFlow, type RegisterFlow, registerFlow } from './register-flow.ts'
import { floatFile, numbersOf, writesSingle } from './register-use.ts'
import { type FloatOperand, isFloatStore } from './semantics.ts'
import { fAddress, field } from './state.ts'
import { STATUS } from './status.ts'

/** A register's locals. `upper` is there if `low` is an f32: the other 32 bits, i32. */
interface FloatLocals {
  readonly low: Local
  readonly upper: Local | null
}

/** What holds where code is being emitted. */
export interface FloatState {
  /** Registers whose locals may differ from memory, a bit for each. */
  readonly dirty: number
  /** Registers that are known to hold a boxed single. */
  readonly boxed: number
  /** The unit is known to be usable, and its state local to be right. */
  readonly isChecked: boolean
}

export class RegionFloat {
  readonly #f: FunctionBuilder
  readonly #flow: RegisterFlow
  readonly #boxed: Int32Array
  readonly #checked: Int32Array
  readonly #isStateNeeded: readonly boolean[]
  readonly #locals: readonly (FloatLocals | null)[]
  /** What the state allows, for each format; see above. Null when the region has no floating point. */
  readonly #trusted: Readonly<Record<'f32' | 'f64', Local | null>>
  #state: FloatState = { dirty: 0, boxed: 0, isChecked: false }

  constructor(f: FunctionBuilder, region: RegionFlow) {
    this.#f = f
    this.#flow = registerFlow(region, floatFile)
    this.#boxed = factFlow(region, region.blocks.map(boxedChanges))
    this.#checked = factFlow(region, region.blocks.map(checkedChanges))
    this.#isStateNeeded = needFlow(
      region,
      region.blocks.map((b) => b.instructions.some(usesUnit)),
      region.blocks.map(({ terminator }) => terminator.kind === 'call'),
    )
    const all = region.order.flatMap((node) => region.blocks[node].instructions)
    const numbers = (format: 'f32' | 'f64'): number =>
      // Loads and stores are no sign of what a register is used for: functions save those of their callers.
      all.reduce((mask, one) => mask | (isDoubleAccess(one) ? 0 : numbersOf(format, one)), 0)
    const [singles, doubles] = [numbers('f32'), numbers('f64')]
    this.#locals = Array.from({ length: 32 }, (_, n) => {
      if (((this.#flow.touched >>> n) & 1) === 0) return null
      const isSingle = ((singles & ~doubles) >>> n) & 1
      return isSingle ? { low: f.local('f32'), upper: f.local('i32') } : { low: f.local('f64'), upper: null }
    })
    const hasUnit = all.some(usesUnit)
    this.#trusted = {
      f64: hasUnit ? f.local('i32') : null,
      f32: hasUnit && singles !== 0 ? f.local('i32') : null,
    }
  }

  get state(): FloatState {
    return this.#state
  }

  /** Takes up the state at a place where the emission of other code had begun. */
  restore(state: FloatState): void {
    this.#state = state
  }

  /** The emission of a block begins. */
  enter(node: number): void {
    this.#state = {
      dirty: this.#flow.dirtyIn[node],
      boxed: this.#boxed[node],
      isChecked: this.#checked[node] !== 0,
    }
  }

  /** Loads what is live at the beginning of a block: at the entry and after a call. */
  load(node: number): void {
    const live = this.#flow.liveIn[node]
    this.#locals.forEach((locals, n) => {
      if (locals === null || ((live >>> n) & 1) === 0) return
      this.#f.set(
        locals.low,
        locals.upper === null ? f64.load(ZERO, fAddress(n)) : f32.load(ZERO, fAddress(n)),
      )
      if (locals.upper !== null) this.#f.set(locals.upper, i32.load(ZERO, fAddress(n) + 4))
    })
    if (this.#isStateNeeded[node]) this.#deriveState()
  }

  /** A call has come back: memory holds the registers. */
  forget(): void {
    this.#state = { dirty: 0, boxed: 0, isChecked: false }
  }

  writeBack(): void {
    const { dirty, boxed } = this.#state
    this.#locals.forEach((locals, n) => {
      if (locals === null || ((dirty >>> n) & 1) === 0) return
      this.#f.store(locals.low.type === 'f64' ? 'f64' : 'f32', ZERO, locals.low.get, fAddress(n))
      if (locals.upper === null) return
      const upper = (boxed >>> n) & 1 ? i32.const(-1) : locals.upper.get
      this.#f.store('i32', ZERO, upper, fAddress(n) + 4)
    })
  }

  /** The unit must be on; for an instruction that changes its state, that state must be dirty already. */
  require(one: PlacedInstruction, bail: () => void): void {
    if (!one.instruction.uses.includes('float') || this.#state.isChecked) return
    const f = this.#f
    if (isFloatStore(one.instruction)) {
      const isOff = i32.eqz(i32.and(i32.load(ZERO, field.mstatus), i32.const(STATUS.fs)))
      f.if(isOff, bail, undefined, 'unlikely')
      return
    }
    f.if(i32.ltS(this.trusted(F64), ZERO), bail, undefined, 'unlikely')
    this.#state = { ...this.#state, isChecked: true }
  }

  /** What the unit's state allows. */
  trusted(of: Format): Expr {
    const local = this.#trusted[of.name]
    if (local === null) throw new Error(`the region has no ${of.name}`)
    return local.get
  }

  /** A control register was written: the unit may be off, round otherwise or have other flags. */
  afterSystem(): void {
    this.#state = { ...this.#state, isChecked: false }
    this.#deriveState()
  }

  /** Flags may have been raised. */
  afterFlags(): void {
    this.#deriveState()
  }

  read(of: Format, register: number): FloatOperand {
    const { low, upper } = this.#localsOf(register)
    if (of === F64) {
      if (upper === null) return { raw: i64.reinterpret(low.get), value: low.get, isBoxed: i32.const(1) }
      const raw = joined(low.get, upper.get)
      return { raw, value: f64.reinterpret(raw), isBoxed: i32.const(1) }
    }
    const isKnown = (this.#state.boxed >>> register) & 1
    if (upper === null) {
      const raw = i64.reinterpret(low.get)
      const isBoxed = isKnown ? i32.const(1) : i32.eq(i32.wrap(i64.shrU(raw, i64.const(32))), i32.const(-1))
      return { raw, value: f32.reinterpret(i32.wrap(raw)), isBoxed }
    }
    return isKnown
      ? { raw: joined(low.get, i32.const(-1)), value: low.get, isBoxed: i32.const(1) }
      : { raw: joined(low.get, upper.get), value: low.get, isBoxed: i32.eq(upper.get, i32.const(-1)) }
  }

  write(of: Format, register: number, value: Expr): void {
    const f = this.#f
    const { low, upper } = this.#localsOf(register)
    const bit = 1 << register
    const { dirty, boxed } = this.#state
    if (of === F64 && upper === null) f.set(low, value)
    else if (of === F64 && upper !== null) {
      const raw = f.keep(i64.reinterpret(value))
      f.set(low, f32.reinterpret(i32.wrap(raw.get)))
      f.set(upper, i32.wrap(i64.shrU(raw.get, i64.const(32))))
    } else if (upper === null) f.set(low, f64.reinterpret(joined(value, i32.const(-1))))
    else {
      f.set(low, value)
      f.set(upper, i32.const(-1))
    }
    this.#state = { ...this.#state, dirty: dirty | bit, boxed: of === F32 ? boxed | bit : boxed & ~bit }
  }

  /** The flow knows every register that an instruction names. */
  #localsOf(register: number): FloatLocals {
    const locals = this.#locals[register]
    if (locals === null) throw new Error(`the region has no local for f${register}`)
    return locals
  }

  #deriveState(): void {
    const f = this.#f
    const { f32: single, f64: double } = this.#trusted
    if (double === null) return
    const fcsr = i32.wrap(readField('fcsr'))
    // To nearest even is mode 0; the inexact flag is the lowest.
    const isFast = f.keep(i32.sub(ZERO, i32.eq(i32.and(fcsr, i32.const(0xe0 | NX)), i32.const(NX))))
    const isDirty = i32.eq(i32.and(i32.load(ZERO, field.mstatus), i32.const(STATUS.fs)), i32.const(STATUS.fs))
    const unusable = i32.sub(isDirty, i32.const(1))
    f.set(double, i32.or(unusable, i32.and(isFast.get, i32.const(trustedExponentCount(F64)))))
    if (single !== null) f.set(single, i32.and(isFast.get, i32.const(trustedExponentCount(F32))))
  }
}

function joined(low: Expr, upper: Expr): Expr {
  return i64.or(i64.extendU(i32.reinterpret(low)), i64.shl(i64.extendU(upper), i64.const(32)))
}

/** What looks at the unit's state in its local. */
function usesUnit({ instruction }: PlacedInstruction): boolean {
  return instruction.uses.includes('float') && !isFloatStore(instruction)
}

function isDoubleAccess({ instruction }: PlacedInstruction): boolean {
  return instruction.name === 'fld' || instruction.name === 'fsd'
}

function boxedChanges({ instructions, terminator }: Block): FactChanges {
  if (terminator.kind === 'call') return { makes: 0, ends: -1 }
  let [makes, ends] = [0, 0]
  for (const one of instructions) {
    const written = floatFile.written(one)
    makes = (makes & ~written) | (writesSingle(one.instruction) ? written : 0)
    ends |= written
  }
  return { makes, ends }
}

function checkedChanges({ instructions, terminator }: Block): FactChanges {
  if (terminator.kind === 'call') return { makes: 0, ends: 1 }
  const lastSystem = instructions.findLastIndex(({ instruction }) => instruction.uses.includes('system'))
  const isChecked = instructions.slice(lastSystem + 1).some(usesUnit)
  return { makes: isChecked ? 1 : 0, ends: lastSystem === -1 ? 0 : 1 }
}
