/**
 * One floating-point instruction as a Wasm function, for tests and measurements: the least implementation of the
 * operands that a meaning is written in terms of.
 */
import { type Expr, i32, i64, select } from '../../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../../wasm/function.ts'
import { ModuleBuilder } from '../../../wasm/module.ts'
import type { Instruction, Operands } from '../semantics.ts'
import { field } from '../state.ts'
import { F64, isBoxed, numberOf, rawOf, trustedExponentCount } from './format.ts'
import { defineFloatLibrary } from './library.ts'

/** An instruction's operands and rounding mode → what it writes to its destination. */
export type FloatOperation = (fs1: bigint, fs2: bigint, fs3: bigint, rs1: bigint, rounding: number) => bigint

export interface FloatUnit {
  readonly operation: (instruction: string) => FloatOperation
  readonly flags: () => number
  readonly setFlags: (flags: number) => void
}

function unavailable(what: string): () => never {
  return () => {
    throw new Error(`${what} is not part of floating-point arithmetic`)
  }
}

/** `rounding` as a constant stands for a static rounding mode. */
function operandsOf(
  f: FunctionBuilder,
  library: ReadonlyMap<string, number>,
  result: Local,
  rounding: Expr,
): Operands {
  const [fs1, fs2, fs3, rs1] = f.paramLocals
  const isNearestEven =
    rounding.kind === 'const' ? i32.const(rounding.value === 0 ? 1 : 0) : i32.eqz(rounding)
  const inexactRaised = i32.and(i32.load8U(i32.const(field.fcsr)), i32.const(1))
  return {
    f,
    library: { functionIndex: (name) => library.get(name) ?? unavailable(name)() },
    rs1: () => rs1.get,
    rs2: unavailable('rs2'),
    setRd: (value) => f.set(result, value),
    imm: unavailable('an immediate'),
    pc: unavailable('pc'),
    nextPc: unavailable('the next pc'),
    float: (of, source) => {
      const raw = { fs1, fs2, fs3 }[source].get
      return { raw, value: numberOf(of, raw), isBoxed: of === F64 ? i32.const(1) : isBoxed(raw) }
    },
    setFloat: (of, value) => f.set(result, rawOf(of, value)),
    rounding: () => rounding,
    trustedExponents: (of) =>
      select(i32.and(isNearestEven, inexactRaised), i32.const(trustedExponentCount(of)), i32.const(0)),
    exactly: (body) => body(),
    load: unavailable('memory'),
    store: unavailable('memory'),
    atomic: unavailable('memory'),
    loadReserved: unavailable('memory'),
    storeConditional: unavailable('memory'),
    zeroBlock: unavailable('memory'),
    jump: unavailable('a jump'),
    branch: unavailable('a branch'),
    system: unavailable('the system'),
  }
}

/** Wasm pages for the hart's state. */
const STATE_PAGES = 1

/** Compiles each instruction that needs no memory, with dynamic rounding or with one static mode. */
export function floatUnit(instructions: readonly Instruction[], staticRounding?: number): FloatUnit {
  const module = new ModuleBuilder()
  module.importMemory('env', 'memory', STATE_PAGES, STATE_PAGES)
  const library = defineFloatLibrary(module)
  for (const { name, uses, meaning } of instructions) {
    if (uses.includes('memory')) continue
    const { body: f } = module.function(['i64', 'i64', 'i64', 'i64', 'i32'], ['i64'], name)
    const result = f.local('i64')
    const rounding = staticRounding === undefined ? f.paramLocals[4].get : i32.const(staticRounding)
    meaning(operandsOf(f, library, result, rounding))
    f.return(i64.add(result.get, i64.const(0)))
  }
  const memory = new WebAssembly.Memory({ initial: STATE_PAGES, maximum: STATE_PAGES, shared: true })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } })
  const fcsr = new DataView(memory.buffer)
  return {
    operation: (name) => {
      const exported = instance.exports[name]
      if (typeof exported !== 'function') throw new Error(`no instruction '${name}'`)
      return (...operands) => BigInt.asUintN(64, exported(...operands))
    },
    flags: () => fcsr.getUint8(field.fcsr),
    setFlags: (flags) => fcsr.setUint8(field.fcsr, flags),
  }
}
