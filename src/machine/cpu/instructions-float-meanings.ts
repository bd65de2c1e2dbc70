/**
 * What the floating-point instructions mean.
 *
 * The library under `fp/` computes everything exactly and is slow. So a meaning takes the host's result where it
 * provably has the same bits and the same flags, and calls the library otherwise. Arithmetic may do so when rounding
 * is to nearest even (the only mode a host has), inexact is already raised (so that it need not be known whether the
 * operation was exact), and the result is well inside the normal range (so that there was no overflow, no
 * underflow, no invalid operation, and no NaN, whose bits differ between hosts).
 */
import { call, type Expr, f32, f64, i32, i64, select, truncSat, v128 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import {
  box,
  F32,
  F64,
  type Format,
  isBoxed,
  isSafelyNormal,
  NV,
  NX,
  negated,
  RTZ,
  raise,
  unbox,
} from './fp/format.ts'
import type { FloatFunction } from './fp/library.ts'
import type { Meaning, Operands } from './semantics.ts'

function library(s: Operands, name: FloatFunction, ...args: Expr[]): Expr {
  return call('i64', s.library.functionIndex(name), ...args)
}

/** The host's number in a raw register that holds one of this format. */
function hostValue(of: Format, raw: Expr): Expr {
  return of === F64 ? f64.reinterpret(raw) : f32.reinterpret(i32.wrap(raw))
}

function rawOfHost(of: Format, value: Expr): Expr {
  return of === F64 ? i64.reinterpret(value) : box(F32, i64.extendU(i32.reinterpret(value)))
}

function allBoxed(of: Format, operands: readonly Local[]): Expr {
  return of === F64 ? i32.const(1) : isBoxed(operands.map((o) => o.get).reduce((a, b) => i64.and(a, b)))
}

function both(a: Expr, b: Expr): Expr {
  if (a.kind === 'const') return a.value === 0 ? a : b
  return b.kind === 'const' && b.value !== 0 ? a : i32.and(a, b)
}

/** Keeps `quick` if `trusted` (which may read it), else evaluates `exact`. */
function unlessTrusted(
  f: FunctionBuilder,
  quick: Expr,
  trusted: (result: Expr) => Expr,
  exact: () => Expr,
): Expr {
  const result = f.keep(quick)
  const condition = trusted(result.get)
  if (condition.kind === 'const') return condition.value === 0 ? exact() : result.get
  f.if(i32.eqz(condition), () => f.set(result, exact()), undefined, 'unlikely')
  return result.get
}

/** An arithmetic result: the host's where it may be trusted. `operands` are raw, of format `from`. */
function rounded(
  s: Operands,
  from: Format,
  to: Format,
  operands: readonly Local[],
  host: Expr,
  exact: () => Expr,
): Expr {
  const fast = s.roundsFast()
  if (fast.kind === 'const' && fast.value === 0) return exact()
  return unlessTrusted(
    s.f,
    rawOfHost(to, host),
    (result) => both(fast, both(isSafelyNormal(to, result), allBoxed(from, operands))),
    exact,
  )
}

export function arithmetic(of: Format, operation: 'add' | 'sub' | 'mul' | 'div'): Meaning {
  const host = (of === F64 ? f64 : f32)[operation]
  return (s) => {
    const a = s.f.keep(s.fs1())
    const b = s.f.keep(s.fs2())
    const quick = host(hostValue(of, a.get), hostValue(of, b.get))
    const exact = () => library(s, `${of.name}.${operation}`, a.get, b.get, s.rounding())
    s.setFd(rounded(s, of, of, [a, b], quick, exact))
  }
}

export function squareRoot(of: Format): Meaning {
  const host = (of === F64 ? f64 : f32).sqrt
  return (s) => {
    const a = s.f.keep(s.fs1())
    const exact = () => library(s, `${of.name}.sqrt`, a.get, s.rounding())
    s.setFd(rounded(s, of, of, [a], host(hostValue(of, a.get)), exact))
  }
}

/** ±(fs1 × fs2) ± fs3 in one rounding: the signs go into the operands. */
export function fused(
  of: Format,
  negateProduct: boolean,
  negateAddend: boolean,
  hostFmaIsFused: boolean,
): Meaning {
  return (s) => {
    const a = s.f.keep(negateProduct ? negated(of, s.fs1()) : s.fs1())
    const b = s.f.keep(s.fs2())
    const c = s.f.keep(negateAddend ? negated(of, s.fs3()) : s.fs3())
    const exact = () => library(s, `${of.name}.fma`, a.get, b.get, c.get, s.rounding())
    if (of === F32) s.setFd(fusedSingle(s, a, b, c, exact))
    else if (!hostFmaIsFused) s.setFd(exact())
    else {
      const [x, y, z] = [a, b, c].map((o) => v128.splatF64(f64.reinterpret(o.get)))
      const quick = v128.lane0F64(v128.relaxedMaddF64(x, y, z))
      s.setFd(rounded(s, of, of, [a, b, c], quick, exact))
    }
  }
}

/**
 * A product of singles is exact as a double; the sum is rounded to double, then to single. The second rounding is the
 * right one unless the first has moved the sum onto the midpoint between two singles: then nobody knows the side.
 */
function fusedSingle(s: Operands, a: Local, b: Local, c: Local, exact: () => Expr): Expr {
  const [x, y, z] = [a, b, c].map((o) => f64.promote(hostValue(F32, o.get)))
  const sum = s.f.keep(f64.add(f64.mul(x, y), z))
  const belowSingle = i64.and(i64.reinterpret(sum.get), i64.const(0x1fff_ffff))
  const isMidpoint = i64.eq(belowSingle, i64.const(0x1000_0000))
  const fast = s.roundsFast()
  if (fast.kind === 'const' && fast.value === 0) return exact()
  return unlessTrusted(
    s.f,
    rawOfHost(F32, f32.demote(sum.get)),
    (result) =>
      both(both(fast, i32.eqz(isMidpoint)), both(isSafelyNormal(F32, result), allBoxed(F32, [a, b, c]))),
    exact,
  )
}

export const doubleToSingle: Meaning = (s) => {
  const a = s.f.keep(s.fs1())
  const exact = () => library(s, 'f32.fromF64', a.get, s.rounding())
  s.setFd(rounded(s, F64, F32, [a], f32.demote(f64.reinterpret(a.get)), exact))
}

/** Always exact; only a NaN needs care. */
export const singleToDouble: Meaning = (s) => {
  const a = s.f.keep(s.fs1())
  const value = hostValue(F32, a.get)
  s.setFd(
    unlessTrusted(
      s.f,
      i64.reinterpret(f64.promote(value)),
      () => i32.and(f32.eq(value, value), isBoxed(a.get)),
      () => library(s, 'f64.fromF32', a.get, i32.const(0)),
    ),
  )
}

export type IntegerType = 'w' | 'wu' | 'l' | 'lu'

/** An integer of up to `precision` bits converts exactly; others are rounded. Neither can overflow. */
export function fromInteger(of: Format, type: IntegerType): Meaning {
  const signed = type === 'w' || type === 'l'
  const host = of === F64 ? f64 : f32
  const convert = signed ? host.convertI64S : host.convertI64U
  const name: FloatFunction = `${of.name}.${signed ? 'fromSigned' : 'fromUnsigned'}`
  const exactUpTo = 2 ** of.precision
  return (s) => {
    const word = () => i32.wrap(s.rs1())
    if (of === F64 && type === 'w') return s.setFd(i64.reinterpret(f64.convertI32S(word())))
    if (of === F64 && type === 'wu') return s.setFd(i64.reinterpret(f64.convertI32U(word())))
    const whole = type === 'w' ? i64.extendS(word()) : type === 'wu' ? i64.extendU(word()) : s.rs1()
    const value = s.f.keep(whole)
    const isExact = signed
      ? i64.leU(i64.add(value.get, i64.const(exactUpTo)), i64.const(2 * exactUpTo))
      : i64.leU(value.get, i64.const(exactUpTo))
    s.setFd(
      unlessTrusted(
        s.f,
        rawOfHost(of, convert(value.get)),
        () => i32.or(isExact, s.roundsFast()),
        () => library(s, name, value.get, s.rounding()),
      ),
    )
  }
}

interface IntegerTarget {
  /** Bounds for the library: the greatest value, and what lies below zero. */
  readonly greatest: bigint
  readonly least: bigint
  /** The host's truncation and its inverse. */
  readonly truncate: (value: Expr) => Expr
  readonly back: (whole: Expr) => Expr
  /** i32 or i64 → the register's 64 bits. */
  readonly extend: (whole: Expr) => Expr
  /** Doubles with lower ≤ value < upper surely fit. */
  readonly lower: number
  readonly upper: number
}

const integerTargets: Readonly<Record<IntegerType, IntegerTarget>> = {
  w: {
    greatest: 2n ** 31n - 1n,
    least: 2n ** 31n,
    truncate: truncSat.i32FromF64S,
    back: f64.convertI32S,
    extend: i64.extendS,
    lower: -(2 ** 31),
    upper: 2 ** 31,
  },
  wu: {
    greatest: 2n ** 32n - 1n,
    least: 0n,
    truncate: truncSat.i32FromF64U,
    back: f64.convertI32U,
    extend: i64.extendS,
    lower: 0,
    upper: 2 ** 32,
  },
  l: {
    greatest: 2n ** 63n - 1n,
    least: 2n ** 63n,
    truncate: truncSat.i64FromF64S,
    back: f64.convertI64S,
    extend: (whole) => whole,
    lower: -(2 ** 63),
    upper: 2 ** 63,
  },
  lu: {
    greatest: 2n ** 64n - 1n,
    least: 0n,
    truncate: truncSat.i64FromF64U,
    back: f64.convertI64U,
    extend: (whole) => whole,
    lower: 0,
    upper: 2 ** 64,
  },
}

/**
 * Truncation, which C's casts ask for, is the host's; a value that is whole is the same in every mode. A 32-bit result
 * is sign-extended, the unsigned one too (Volume I, 20.7).
 */
export function toInteger(of: Format, type: IntegerType): Meaning {
  const target = integerTargets[type]
  return (s) => {
    const { f } = s
    const a = f.keep(s.fs1())
    const rounding = s.rounding()
    const value = f.keep(of === F64 ? f64.reinterpret(a.get) : f64.promote(hostValue(F32, unbox(F32, a.get))))
    const whole = f.keep(target.truncate(value.get))
    const fits = i32.and(
      f64.ge(value.get, f64.const(target.lower)),
      f64.lt(value.get, f64.const(target.upper)),
    )
    const isWhole = f64.eq(target.back(whole.get), value.get)
    const truncates = rounding.kind === 'const' && rounding.value === RTZ
    const result = unlessTrusted(
      f,
      target.extend(whole.get),
      () => both(fits, truncates ? i32.const(1) : isWhole),
      () => {
        const bounds = [i64.const(target.greatest), i64.const(target.least)]
        const exact = library(s, `${of.name}.toInteger`, a.get, rounding, ...bounds)
        return type === 'wu' ? i64.extend32S(exact) : exact
      },
    )
    if (truncates) f.if(i32.and(i32.eqz(isWhole), fits), () => raise(f, NX))
    s.setRd(result)
  }
}

/** FEQ is quiet, FLT and FLE raise invalid for every NaN. */
export function compare(of: Format, relation: 'eq' | 'lt' | 'le'): Meaning {
  const host = of === F64 ? f64 : f32
  return (s) => {
    const { f } = s
    const a = f.keep(unbox(of, f.keep(s.fs1()).get))
    const b = f.keep(unbox(of, f.keep(s.fs2()).get))
    const x = f.keep(hostValue(of, a.get))
    const y = f.keep(hostValue(of, b.get))
    const unordered = i32.or(host.ne(x.get, x.get), host.ne(y.get, y.get))
    f.if(
      unordered,
      () => {
        if (relation !== 'eq') raise(f, NV)
        else f.call(s.library.functionIndex(`${of.name}.raiseIfSignaling`), box(of, a.get), box(of, b.get))
      },
      undefined,
      'unlikely',
    )
    s.setRd(i64.extendU(host[relation](x.get, y.get)))
  }
}

export function extremum(of: Format, which: 'min' | 'max'): Meaning {
  const host = of === F64 ? f64 : f32
  return (s) => {
    const a = s.f.keep(s.fs1())
    const b = s.f.keep(s.fs2())
    const x = hostValue(of, a.get)
    const y = hostValue(of, b.get)
    const first = which === 'min' ? host.lt(x, y) : host.gt(x, y)
    s.setFd(
      unlessTrusted(
        s.f,
        select(first, a.get, b.get),
        // Zeros of different sign compare equal, and a NaN compares unequal to all: both go to the library.
        () => both(i32.or(host.lt(x, y), host.gt(x, y)), allBoxed(of, [a, b])),
        () => library(s, `${of.name}.${which}`, a.get, b.get),
      ),
    )
  }
}

export function classify(of: Format): Meaning {
  return (s) => s.setRd(library(s, `${of.name}.classify`, s.fs1()))
}

/** The magnitude of fs1 with fs2's sign, its opposite, or both signs xored. */
export function injectSign(of: Format, how: 'same' | 'opposite' | 'xor'): Meaning {
  const signMask = 1n << BigInt(of.signBit)
  return (s) => {
    const { f } = s
    const boxed = (raw: Expr): Expr => {
      if (of === F64) return raw
      const kept = f.keep(raw)
      return select(isBoxed(kept.get), kept.get, box(F32, i64.const(F32.canonicalNaN)))
    }
    const a = f.keep(boxed(s.fs1()))
    const b = boxed(s.fs2())
    const sign = i64.and(how === 'opposite' ? i64.xor(b, i64.const(-1)) : b, i64.const(signMask))
    if (how === 'xor') s.setFd(i64.xor(a.get, sign))
    else s.setFd(i64.or(i64.and(a.get, i64.const(~signMask)), sign))
  }
}

export const loadSingle: Meaning = (s) => s.setFd(box(F32, s.load('u32', i64.add(s.rs1(), s.imm()))))
export const loadDouble: Meaning = (s) => s.setFd(s.load('i64', i64.add(s.rs1(), s.imm())))
/** Stores take raw bits: an ill-boxed single is not looked at (Volume I, 21.2). */
export const storeSingle: Meaning = (s) => s.store(32, i64.add(s.rs1(), s.imm()), s.fs2())
export const storeDouble: Meaning = (s) => s.store(64, i64.add(s.rs1(), s.imm()), s.fs2())

export const moveSingleToInteger: Meaning = (s) => s.setRd(i64.extend32S(s.fs1()))
export const moveIntegerToSingle: Meaning = (s) => s.setFd(box(F32, s.rs1()))
export const moveDoubleToInteger: Meaning = (s) => s.setRd(s.fs1())
export const moveIntegerToDouble: Meaning = (s) => s.setFd(s.rs1())
