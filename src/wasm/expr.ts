/**
 * WebAssembly expressions as small trees.
 *
 * A tree says what to compute, not when: it is evaluated where a statement of a `FunctionBuilder` uses it. So an
 * expression that reads a local sees the value the local has at that statement. Keep a value that must survive
 * a later write in a temporary local.
 *
 * Constants are folded as trees are built, because region code is full of them: the zero register, immediates,
 * addresses relative to a known page.
 */
export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128'

export type Kind = 'const' | 'local' | 'global' | 'plain' | 'load' | 'call' | 'select'

export class Expr {
  readonly kind: Kind
  readonly type: ValueType
  /** The opcode of a plain operation or a load; the index of a local, global or function. */
  readonly code: number
  /** A constant's value, or a load's byte offset. */
  readonly value: number | bigint
  readonly args: readonly Expr[]

  constructor(kind: Kind, type: ValueType, code: number, value: number | bigint, args: readonly Expr[]) {
    this.kind = kind
    this.type = type
    this.code = code
    this.value = value
    this.args = args
  }
}

const none: readonly Expr[] = []

export function constant(type: ValueType, value: number | bigint): Expr {
  return new Expr('const', type, 0, value, none)
}

export function plain(type: ValueType, code: number, ...args: Expr[]): Expr {
  return new Expr('plain', type, code, 0, args)
}

function load(type: ValueType, code: number) {
  return (address: Expr, offset = 0): Expr => new Expr('load', type, code, offset, [address])
}

const binary = (type: ValueType, code: number) => (a: Expr, b: Expr) => plain(type, code, a, b)
const unary = (type: ValueType, code: number) => (a: Expr) => plain(type, code, a)

/** `condition` (i32) non-zero picks `whenTrue`. Both sides are evaluated. */
export function select(condition: Expr, whenTrue: Expr, whenFalse: Expr): Expr {
  return new Expr('select', whenTrue.type, 0x1b, 0, [whenTrue, whenFalse, condition])
}

export function call(type: ValueType, functionIndex: number, ...args: Expr[]): Expr {
  return new Expr('call', type, functionIndex, 0, args)
}

function isConst(e: Expr): boolean {
  return e.kind === 'const'
}

function isZero(e: Expr): boolean {
  return e.kind === 'const' && (e.value === 0 || e.value === 0n)
}

const zero32 = constant('i32', 0)
const zero64 = constant('i64', 0)

function const32(value: number): Expr {
  return value === 0 ? zero32 : constant('i32', value | 0)
}

/** Safe integers stay numbers (quick to encode); others are wrapped to signed 64 bits. */
function const64(value: number | bigint): Expr {
  if (typeof value === 'number') return value === 0 ? zero64 : constant('i64', value)
  const wrapped = BigInt.asIntN(64, value)
  const small = Number(wrapped)
  return constant('i64', Number.isSafeInteger(small) ? small : wrapped)
}

function fold64(a: Expr, b: Expr, op: (x: bigint, y: bigint) => bigint): Expr {
  return const64(op(BigInt(a.value), BigInt(b.value)))
}

/** Values up to this stay exact when two are added or subtracted as numbers. */
const FOLD_SAFE = 2 ** 51

function addConst64(a: Expr, b: Expr, sign: 1 | -1): Expr {
  const x = a.value
  const y = b.value
  if (typeof x === 'number' && typeof y === 'number' && Math.abs(x) < FOLD_SAFE && Math.abs(y) < FOLD_SAFE) {
    return const64(x + sign * y)
  }
  return fold64(a, b, (p, q) => p + BigInt(sign) * q)
}

export const i32 = {
  const: const32,
  add: (a: Expr, b: Expr): Expr => {
    if (isConst(a) && isConst(b)) return const32(((a.value as number) + (b.value as number)) | 0)
    if (isZero(b)) return a
    if (isZero(a)) return b
    return plain('i32', 0x6a, a, b)
  },
  sub: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i32', 0x6b, a, b)),
  mul: binary('i32', 0x6c),
  divS: binary('i32', 0x6d),
  divU: binary('i32', 0x6e),
  remS: binary('i32', 0x6f),
  remU: binary('i32', 0x70),
  and: (a: Expr, b: Expr): Expr =>
    isConst(a) && isConst(b) ? const32((a.value as number) & (b.value as number)) : plain('i32', 0x71, a, b),
  or: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i32', 0x72, a, b)),
  xor: binary('i32', 0x73),
  shl: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i32', 0x74, a, b)),
  shrS: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i32', 0x75, a, b)),
  shrU: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i32', 0x76, a, b)),
  rotl: binary('i32', 0x77),
  rotr: binary('i32', 0x78),
  clz: unary('i32', 0x67),
  ctz: unary('i32', 0x68),
  popcnt: unary('i32', 0x69),
  eqz: unary('i32', 0x45),
  eq: binary('i32', 0x46),
  ne: binary('i32', 0x47),
  ltS: binary('i32', 0x48),
  ltU: binary('i32', 0x49),
  gtS: binary('i32', 0x4a),
  gtU: binary('i32', 0x4b),
  leS: binary('i32', 0x4c),
  leU: binary('i32', 0x4d),
  geS: binary('i32', 0x4e),
  geU: binary('i32', 0x4f),
  /** The low 32 bits of an i64. */
  wrap: (a: Expr): Expr => {
    if (isConst(a)) return const32(Number(BigInt.asIntN(32, BigInt(a.value))))
    // wrap(extend(x)) is x, whichever extension it was.
    if (a.kind === 'plain' && (a.code === 0xac || a.code === 0xad)) return a.args[0]
    return plain('i32', 0xa7, a)
  },
  reinterpret: unary('i32', 0xbc),
  extend8S: unary('i32', 0xc0),
  extend16S: unary('i32', 0xc1),
  load: load('i32', 0x28),
  load8S: load('i32', 0x2c),
  load8U: load('i32', 0x2d),
  load16S: load('i32', 0x2e),
  load16U: load('i32', 0x2f),
}

export const i64 = {
  const: const64,
  add: (a: Expr, b: Expr): Expr => {
    if (isConst(a) && isConst(b)) return addConst64(a, b, 1)
    if (isZero(b)) return a
    if (isZero(a)) return b
    return plain('i64', 0x7c, a, b)
  },
  sub: (a: Expr, b: Expr): Expr => {
    if (isConst(a) && isConst(b)) return addConst64(a, b, -1)
    return isZero(b) ? a : plain('i64', 0x7d, a, b)
  },
  mul: binary('i64', 0x7e),
  divS: binary('i64', 0x7f),
  divU: binary('i64', 0x80),
  remS: binary('i64', 0x81),
  remU: binary('i64', 0x82),
  and: (a: Expr, b: Expr): Expr => {
    if (isConst(a) && isConst(b)) return fold64(a, b, (x, y) => x & y)
    if (isZero(a) || isZero(b)) return zero64
    return plain('i64', 0x83, a, b)
  },
  or: (a: Expr, b: Expr): Expr => {
    if (isZero(b)) return a
    if (isZero(a)) return b
    return plain('i64', 0x84, a, b)
  },
  xor: (a: Expr, b: Expr): Expr => {
    if (isZero(b)) return a
    if (isZero(a)) return b
    return plain('i64', 0x85, a, b)
  },
  shl: (a: Expr, b: Expr): Expr => {
    if (isZero(b)) return a
    return isConst(a) && isConst(b) ? fold64(a, b, (x, y) => x << (y & 63n)) : plain('i64', 0x86, a, b)
  },
  shrS: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i64', 0x87, a, b)),
  shrU: (a: Expr, b: Expr): Expr => (isZero(b) ? a : plain('i64', 0x88, a, b)),
  rotl: binary('i64', 0x89),
  rotr: binary('i64', 0x8a),
  clz: unary('i64', 0x79),
  ctz: unary('i64', 0x7a),
  popcnt: unary('i64', 0x7b),
  eqz: unary('i32', 0x50),
  eq: (a: Expr, b: Expr): Expr => (isZero(b) ? plain('i32', 0x50, a) : plain('i32', 0x51, a, b)),
  ne: binary('i32', 0x52),
  ltS: binary('i32', 0x53),
  ltU: binary('i32', 0x54),
  gtS: binary('i32', 0x55),
  gtU: binary('i32', 0x56),
  leS: binary('i32', 0x57),
  leU: binary('i32', 0x58),
  geS: binary('i32', 0x59),
  geU: binary('i32', 0x5a),
  extendS: (a: Expr): Expr => (isConst(a) ? const64(a.value) : plain('i64', 0xac, a)),
  extendU: (a: Expr): Expr => (isConst(a) ? const64((a.value as number) >>> 0) : plain('i64', 0xad, a)),
  reinterpret: unary('i64', 0xbd),
  extend8S: unary('i64', 0xc2),
  extend16S: unary('i64', 0xc3),
  extend32S: unary('i64', 0xc4),
  load: load('i64', 0x29),
  load8S: load('i64', 0x30),
  load8U: load('i64', 0x31),
  load16S: load('i64', 0x32),
  load16U: load('i64', 0x33),
  load32S: load('i64', 0x34),
  load32U: load('i64', 0x35),
}

function floats(type: 'f32' | 'f64', base: number, compare: number, loadCode: number, reinterpret: number) {
  return {
    const: (value: number): Expr => constant(type, value),
    eq: binary('i32', compare),
    ne: binary('i32', compare + 1),
    lt: binary('i32', compare + 2),
    gt: binary('i32', compare + 3),
    le: binary('i32', compare + 4),
    ge: binary('i32', compare + 5),
    abs: unary(type, base),
    neg: unary(type, base + 1),
    ceil: unary(type, base + 2),
    floor: unary(type, base + 3),
    trunc: unary(type, base + 4),
    nearest: unary(type, base + 5),
    sqrt: unary(type, base + 6),
    add: binary(type, base + 7),
    sub: binary(type, base + 8),
    mul: binary(type, base + 9),
    div: binary(type, base + 10),
    min: binary(type, base + 11),
    max: binary(type, base + 12),
    copysign: binary(type, base + 13),
    load: load(type, loadCode),
    reinterpret: unary(type, reinterpret),
  }
}

export const f32 = {
  ...floats('f32', 0x8b, 0x5b, 0x2a, 0xbe),
  convertI32S: unary('f32', 0xb2),
  convertI32U: unary('f32', 0xb3),
  convertI64S: unary('f32', 0xb4),
  convertI64U: unary('f32', 0xb5),
  demote: unary('f32', 0xb6),
}

export const f64 = {
  ...floats('f64', 0x99, 0x61, 0x2b, 0xbf),
  convertI32S: unary('f64', 0xb7),
  convertI32U: unary('f64', 0xb8),
  convertI64S: unary('f64', 0xb9),
  convertI64U: unary('f64', 0xba),
  promote: unary('f64', 0xbb),
}

/** Saturating float-to-integer conversions: never trap. */
export const truncSat = {
  i64FromF64S: unary('i64', 0xfc06),
  i64FromF64U: unary('i64', 0xfc07),
  i32FromF64S: unary('i32', 0xfc02),
  i32FromF64U: unary('i32', 0xfc03),
  i64FromF32S: unary('i64', 0xfc04),
  i64FromF32U: unary('i64', 0xfc05),
}

/** 128-bit vectors: only what the machine uses. Codes with prefix 0xfd. */
export const v128 = {
  splatF32: unary('v128', 0xfd13),
  splatF64: unary('v128', 0xfd14),
  lane0F32: (a: Expr): Expr => new Expr('plain', 'f32', 0xfd1f, 0, [a]),
  lane0F64: (a: Expr): Expr => new Expr('plain', 'f64', 0xfd21, 0, [a]),
  /** a × b + c, fused where the host has the instruction (relaxed SIMD): test before trusting it. */
  relaxedMaddF32: (a: Expr, b: Expr, c: Expr): Expr => plain('v128', 0xfd105, a, b, c),
  relaxedMaddF64: (a: Expr, b: Expr, c: Expr): Expr => plain('v128', 0xfd107, a, b, c),
}
