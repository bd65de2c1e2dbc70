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
import { F32, F64, type Format, isTrusted, NV, NX, negated, numberOf, RNE, RTZ, raise } from './fp/format.ts'
import type { FloatFunction } from './fp/library.ts'
import type { FloatOperand, Meaning, Operands } from './semantics.ts'

function library(s: Operands, name: FloatFunction, ...args: Expr[]): Expr {
  return call('i64', s.library.functionIndex(name), ...args)
}

function host(of: Format): typeof f32 | typeof f64 {
  return of === F64 ? f64 : f32
}

function both(a: Expr, b: Expr): Expr {
  if (a.kind === 'const') return a.value === 0 ? a : b
  return b.kind === 'const' && b.value !== 0 ? a : i32.and(a, b)
}

function allBoxed(operands: readonly FloatOperand[]): Expr {
  return operands.map((o) => o.isBoxed).reduce(both)
}

/** Does `exact` out of the usual way unless `trusted`. */
function unlessTrusted(s: Operands, trusted: Expr, exact: () => void): void {
  if (trusted.kind !== 'const') s.f.if(i32.eqz(trusted), () => s.exactly(exact), undefined, 'unlikely')
  else if (trusted.value === 0) s.exactly(exact)
}

/** Whether the instruction may round otherwise than to nearest even, whatever the dynamic mode is. */
function roundsOtherwise(rounding: Expr): boolean {
  return rounding.kind === 'const' && rounding.value !== RNE
}

interface Rounded {
  readonly operands: readonly FloatOperand[]
  /** What the host computes. */
  readonly quick: Expr
  /** A condition of its own for trusting that. */
  readonly also?: Expr
  /** Whether a zero that the host computed, rounding to nearest even, is exact. */
  readonly isExactZero?: () => Expr
  /** Raw. */
  readonly exact: () => Expr
}

/** Writes an arithmetic result: the host's where it may be trusted. */
function setRounded(s: Operands, to: Format, { operands, quick, also, isExactZero, exact }: Rounded): void {
  if (roundsOtherwise(s.rounding())) {
    s.exactly(() => s.setFloat(to, numberOf(to, exact())))
    return
  }
  const { f } = s
  const result = f.keep(quick)
  const exponents = s.trustedExponents(to)
  const areBoxed = allBoxed(operands)
  const trusted = both(isTrusted(to, result.get, exponents), both(also ?? i32.const(1), areBoxed))
  const compute = (): void => s.exactly(() => f.set(result, numberOf(to, exact())))
  f.if(
    i32.eqz(trusted),
    () => {
      if (isExactZero === undefined) {
        compute()
        return
      }
      const isZero = i32.and(host(to).eq(result.get, host(to).const(0)), isExactZero())
      f.if(i32.eqz(both(i32.and(isZero, i32.ne(exponents, i32.const(0))), areBoxed)), compute)
    },
    undefined,
    'unlikely',
  )
  s.setFloat(to, result.get)
}

export function arithmetic(of: Format, operation: 'add' | 'sub' | 'mul' | 'div'): Meaning {
  const { const: number, eq } = host(of)
  return (s) => {
    const [a, b] = [s.float(of, 'fs1'), s.float(of, 'fs2')]
    const isZero = (operand: FloatOperand) => eq(operand.value, number(0))
    // A sum is never too small to be represented; products and quotients are, unless a zero went in.
    const isExactZero = {
      add: () => i32.const(1),
      sub: () => i32.const(1),
      mul: () => i32.or(isZero(a), isZero(b)),
      div: () => isZero(a),
    }[operation]
    setRounded(s, of, {
      operands: [a, b],
      quick: host(of)[operation](a.value, b.value),
      isExactZero,
      exact: () => library(s, `${of.name}.${operation}`, a.raw, b.raw, s.rounding()),
    })
  }
}

export function squareRoot(of: Format): Meaning {
  return (s) => {
    const a = s.float(of, 'fs1')
    setRounded(s, of, {
      operands: [a],
      quick: host(of).sqrt(a.value),
      isExactZero: () => i32.const(1),
      exact: () => library(s, `${of.name}.sqrt`, a.raw, s.rounding()),
    })
  }
}

/** ±(fs1 × fs2) ± fs3 in one rounding: the signs go into the operands. */
export function fused(
  of: Format,
  negateProduct: boolean,
  negateAddend: boolean,
  hostFmaIsFused: boolean,
): Meaning {
  const withSign = (operand: FloatOperand, isNegated: boolean): FloatOperand =>
    isNegated ? { ...operand, raw: negated(of, operand.raw), value: host(of).neg(operand.value) } : operand
  return (s) => {
    const a = withSign(s.float(of, 'fs1'), negateProduct)
    const b = s.float(of, 'fs2')
    const c = withSign(s.float(of, 'fs3'), negateAddend)
    const exact = () => library(s, `${of.name}.fma`, a.raw, b.raw, c.raw, s.rounding())
    if (hostFmaIsFused) setRounded(s, of, { operands: [a, b, c], quick: hostFused(of, [a, b, c]), exact })
    else if (of === F32) setFusedSingle(s, a, b, c, exact)
    else s.exactly(() => s.setFloat(of, numberOf(of, exact())))
  }
}

function hostFused(of: Format, operands: readonly FloatOperand[]): Expr {
  if (of === F64) {
    const [x, y, z] = operands.map((o) => v128.splatF64(o.value))
    return v128.lane0F64(v128.relaxedMaddF64(x, y, z))
  }
  const [x, y, z] = operands.map((o) => v128.splatF32(o.value))
  return v128.lane0F32(v128.relaxedMaddF32(x, y, z))
}

/**
 * A product of singles is exact as a double; the sum is rounded to double, then to single. The second rounding is the
 * right one unless the first has moved the sum onto the midpoint between two singles: then nobody knows the side.
 */
function setFusedSingle(
  s: Operands,
  a: FloatOperand,
  b: FloatOperand,
  c: FloatOperand,
  exact: () => Expr,
): void {
  const [x, y, z] = [a, b, c].map((o) => f64.promote(o.value))
  const sum = s.f.keep(f64.add(f64.mul(x, y), z))
  const belowSingle = i32.and(i32.wrap(i64.reinterpret(sum.get)), i32.const(0x1fff_ffff))
  const isNoMidpoint = i32.ne(belowSingle, i32.const(0x1000_0000))
  setRounded(s, F32, { operands: [a, b, c], quick: f32.demote(sum.get), also: isNoMidpoint, exact })
}

export const doubleToSingle: Meaning = (s) => {
  const a = s.float(F64, 'fs1')
  setRounded(s, F32, {
    operands: [a],
    quick: f32.demote(a.value),
    isExactZero: () => f64.eq(a.value, f64.const(0)),
    exact: () => library(s, 'f32.fromF64', a.raw, s.rounding()),
  })
}

/** Always exact; only a NaN needs care. */
export const singleToDouble: Meaning = (s) => {
  const { f } = s
  const a = s.float(F32, 'fs1')
  const result = f.keep(f64.promote(a.value))
  unlessTrusted(s, both(f64.eq(result.get, result.get), a.isBoxed), () =>
    f.set(result, numberOf(F64, library(s, 'f64.fromF32', a.raw, i32.const(RNE)))),
  )
  s.setFloat(F64, result.get)
}

export type IntegerType = 'w' | 'wu' | 'l' | 'lu'

/** An integer of up to `precision` bits converts exactly; others are rounded. Neither can overflow. */
export function fromInteger(of: Format, type: IntegerType): Meaning {
  const signed = type === 'w' || type === 'l'
  const convert = signed ? host(of).convertI64S : host(of).convertI64U
  const name: FloatFunction = `${of.name}.${signed ? 'fromSigned' : 'fromUnsigned'}`
  const exactUpTo = 2 ** of.precision
  return (s) => {
    const { f } = s
    const word = () => i32.wrap(s.rs1())
    if (of === F64 && type === 'w') return s.setFloat(F64, f64.convertI32S(word()))
    if (of === F64 && type === 'wu') return s.setFloat(F64, f64.convertI32U(word()))
    const whole = type === 'w' ? i64.extendS(word()) : type === 'wu' ? i64.extendU(word()) : s.rs1()
    const value = f.keep(whole)
    const result = f.keep(convert(value.get))
    const isExact = signed
      ? i64.leU(i64.add(value.get, i64.const(exactUpTo)), i64.const(2 * exactUpTo))
      : i64.leU(value.get, i64.const(exactUpTo))
    const trusted = roundsOtherwise(s.rounding()) ? isExact : s.trustedExponents(of)
    unlessTrusted(s, trusted, () =>
      f.if(i32.eqz(isExact), () => f.set(result, numberOf(of, library(s, name, value.get, s.rounding())))),
    )
    s.setFloat(of, result.get)
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
  /** Whether a double surely fits; never true of a NaN. */
  readonly fits: (value: Expr) => Expr
}

const isBelow = (magnitude: number) => (value: Expr) => f64.lt(f64.abs(value), f64.const(magnitude))
const isWithin = (limit: number) => (value: Expr) =>
  i32.and(f64.ge(value, f64.const(0)), f64.lt(value, f64.const(limit)))

const integerTargets: Readonly<Record<IntegerType, IntegerTarget>> = {
  w: {
    greatest: 2n ** 31n - 1n,
    least: 2n ** 31n,
    truncate: truncSat.i32FromF64S,
    back: f64.convertI32S,
    extend: i64.extendS,
    fits: isBelow(2 ** 31),
  },
  wu: {
    greatest: 2n ** 32n - 1n,
    least: 0n,
    truncate: truncSat.i32FromF64U,
    back: f64.convertI32U,
    extend: i64.extendS,
    fits: isWithin(2 ** 32),
  },
  l: {
    greatest: 2n ** 63n - 1n,
    least: 2n ** 63n,
    truncate: truncSat.i64FromF64S,
    back: f64.convertI64S,
    extend: (whole) => whole,
    fits: isBelow(2 ** 63),
  },
  lu: {
    greatest: 2n ** 64n - 1n,
    least: 0n,
    truncate: truncSat.i64FromF64U,
    back: f64.convertI64U,
    extend: (whole) => whole,
    fits: isWithin(2 ** 64),
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
    const a = s.float(of, 'fs1')
    const rounding = s.rounding()
    const value = f.keep(of === F64 ? a.value : f64.promote(a.value))
    const whole = f.keep(target.truncate(value.get))
    const result = f.keep(target.extend(whole.get))
    const fits = both(target.fits(value.get), a.isBoxed)
    const isWhole = f64.eq(target.back(whole.get), value.get)
    const exact = (): void => {
      const bounds = [i64.const(target.greatest), i64.const(target.least)]
      const rounded = library(s, `${of.name}.toInteger`, a.raw, rounding, ...bounds)
      f.set(result, type === 'wu' ? i64.extend32S(rounded) : rounded)
    }
    if (rounding.kind === 'const' && rounding.value === RTZ) {
      // With the inexact flag already raised it need not be known whether the value is whole.
      const raised = i32.ne(s.trustedExponents(of), i32.const(0))
      unlessTrusted(s, both(fits, raised), () =>
        f.if(fits, () => f.if(i32.eqz(isWhole), () => raise(f, NX)), exact),
      )
    } else {
      const trusted = both(fits, isWhole)
      const isFast = roundsOtherwise(rounding)
        ? trusted
        : both(trusted, i32.ne(s.trustedExponents(of), i32.const(0)))
      unlessTrusted(s, isFast, () => f.if(i32.eqz(trusted), exact))
    }
    s.setRd(result.get)
  }
}

/** FEQ is quiet, FLT and FLE raise invalid for every NaN. */
export function compare(of: Format, relation: 'eq' | 'lt' | 'le'): Meaning {
  const { ge, gt, ne } = host(of)
  return (s) => {
    const { f } = s
    const [a, b] = [s.float(of, 'fs1'), s.float(of, 'fs2')]
    const [x, y] = [f.keep(canonical(of, a)), f.keep(canonical(of, b))]
    const result = f.keep(host(of)[relation](x.get, y.get))
    const isOrdered = {
      eq: () => i32.eqz(i32.or(ne(x.get, x.get), ne(y.get, y.get))),
      lt: () => i32.or(result.get, ge(x.get, y.get)),
      le: () => i32.or(result.get, gt(x.get, y.get)),
    }[relation]
    unlessTrusted(s, isOrdered(), () => {
      if (relation !== 'eq') raise(f, NV)
      else f.call(s.library.functionIndex(`${of.name}.raiseIfSignaling`), a.raw, b.raw)
    })
    s.setRd(i64.extendU(result.get))
  }
}

/** A register that holds no single counts as the canonical NaN. */
function canonical(of: Format, { value, isBoxed }: FloatOperand): Expr {
  return isBoxed.kind === 'const' ? value : select(isBoxed, value, numberOf(of, i64.const(of.canonicalNaN)))
}

/** The host orders zeros as the instruction does; a NaN makes its result one. */
export function extremum(of: Format, which: 'min' | 'max'): Meaning {
  return (s) => {
    const [a, b] = [s.float(of, 'fs1'), s.float(of, 'fs2')]
    const result = s.f.keep(host(of)[which](a.value, b.value))
    unlessTrusted(s, both(host(of).eq(result.get, result.get), allBoxed([a, b])), () =>
      s.f.set(result, numberOf(of, library(s, `${of.name}.${which}`, a.raw, b.raw))),
    )
    s.setFloat(of, result.get)
  }
}

export function classify(of: Format): Meaning {
  return (s) => s.setRd(library(s, `${of.name}.classify`, s.float(of, 'fs1').raw))
}

/** The magnitude of fs1 with fs2's sign, its opposite, or both signs xored. None of these looks at a NaN. */
export function injectSign(of: Format, how: 'same' | 'opposite' | 'xor'): Meaning {
  const { abs, copysign, neg } = host(of)
  return (s) => {
    const [a, b] = [s.float(of, 'fs1'), s.float(of, 'fs2')]
    const [x, y] = [canonical(of, a), canonical(of, b)]
    // Compilers move, negate and take magnitudes with one register as both sources.
    const isOne = a.value === b.value
    if (how === 'same') s.setFloat(of, isOne ? x : copysign(x, y))
    else if (how === 'opposite') s.setFloat(of, isOne ? neg(x) : copysign(x, neg(y)))
    else s.setFloat(of, isOne ? abs(x) : copysign(x, signProduct(of, x, y)))
  }
}

/** A number whose sign is that of the product. */
function signProduct(of: Format, x: Expr, y: Expr): Expr {
  if (of === F64) return f64.reinterpret(i64.xor(i64.reinterpret(x), i64.reinterpret(y)))
  return f32.reinterpret(i32.xor(i32.reinterpret(x), i32.reinterpret(y)))
}

export const loadSingle: Meaning = (s) => s.setFloat(F32, s.load('f32', i64.add(s.rs1(), s.imm())))
export const loadDouble: Meaning = (s) => s.setFloat(F64, s.load('f64', i64.add(s.rs1(), s.imm())))
/** Stores take raw bits: an ill-boxed single is not looked at (Volume I, 21.2). */
export const storeSingle: Meaning = (s) =>
  s.store('f32', i64.add(s.rs1(), s.imm()), s.float(F32, 'fs2').value)
export const storeDouble: Meaning = (s) =>
  s.store('f64', i64.add(s.rs1(), s.imm()), s.float(F64, 'fs2').value)

/** Moves take raw bits, too. */
export const moveSingleToInteger: Meaning = (s) =>
  s.setRd(i64.extendS(i32.reinterpret(s.float(F32, 'fs1').value)))
export const moveIntegerToSingle: Meaning = (s) => s.setFloat(F32, f32.reinterpret(i32.wrap(s.rs1())))
export const moveDoubleToInteger: Meaning = (s) => s.setRd(s.float(F64, 'fs1').raw)
export const moveIntegerToDouble: Meaning = (s) => s.setFloat(F64, f64.reinterpret(s.rs1()))
