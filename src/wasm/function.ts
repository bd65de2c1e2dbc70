import { ByteWriter } from './bytes.ts'
import { Expr, type ValueType } from './expr.ts'

export const TYPE_CODES: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
}

/** A local variable or parameter; `get` is the expression that reads it. */
export interface Local {
  readonly index: number
  readonly type: ValueType
  readonly get: Expr
}

/** A place to branch to: the end of a block, or the start of a loop. Valid while its construct is open. */
export interface Label {
  readonly depth: number
}

/** Whether a branch is expected to be taken; becomes an entry of `metadata.code.branch_hint`. */
export type Hint = 'likely' | 'unlikely'

const BLOCK_VOID = 0x40
const LOCAL_SET = 0x21
const LOCAL_TEE = 0x22

/** Most functions fit without growing. */
const CODE_BYTES_USUAL = 16384
const spare: ByteWriter[] = []

/** Natural alignment (log2 of bytes) of each load and store opcode; `align` in Wasm is a promise, not a check, so 0 is used where guests decide. */
const STORES = {
  i64: 0x37,
  i32: 0x36,
  f64: 0x39,
  f32: 0x38,
  i32_8: 0x3a,
  i32_16: 0x3b,
  i64_8: 0x3c,
  i64_16: 0x3d,
  i64_32: 0x3e,
} as const
export type StoreKind = keyof typeof STORES

/**
 * Builds one function: statements are encoded as they are called, expressions as statements use them.
 * Structured constructs take callbacks; a callback runs once, at once.
 */
export class FunctionBuilder {
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
  readonly paramLocals: readonly Local[]
  readonly #code = spare.pop() ?? new ByteWriter(CODE_BYTES_USUAL)
  readonly #localTypes: ValueType[] = []
  readonly #temps: Readonly<Record<ValueType, Local[]>> = { i32: [], i64: [], f32: [], f64: [], v128: [] }
  readonly #tempsUsed: Record<ValueType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 }
  readonly #hints: { offset: number; likely: boolean }[] = []
  #depth = 0
  /** The last instruction, if it was a local.set: where it begins and ends. */
  #set = { local: -1, start: -1, end: -1 }

  constructor(params: readonly ValueType[], results: readonly ValueType[]) {
    this.params = params
    this.results = results
    this.paramLocals = params.map((type, index) => ({
      index,
      type,
      get: new Expr('local', type, index, 0, []),
    }))
  }

  local(type: ValueType): Local {
    const index = this.params.length + this.#localTypes.length
    this.#localTypes.push(type)
    return { index, type, get: new Expr('local', type, index, 0, []) }
  }

  /** A local for a short life: reused after `scope` that took it ends. */
  temp(type: ValueType): Local {
    const used = this.#tempsUsed[type]++
    const pool = this.#temps[type]
    if (used === pool.length) pool.push(this.local(type))
    return pool[used]
  }

  /** Temporaries taken inside `body` are free again after it. */
  scope<T>(body: () => T): T {
    const used = this.#tempsUsed
    const { i32, i64, f32, f64, v128 } = used
    const result = body()
    used.i32 = i32
    used.i64 = i64
    used.f32 = f32
    used.f64 = f64
    used.v128 = v128
    return result
  }

  /** Evaluates an expression into a temporary. */
  keep(e: Expr): Local {
    const t = this.temp(e.type)
    this.set(t, e)
    return t
  }

  set(local: Local, e: Expr): void {
    this.#expr(e)
    const start = this.#code.length
    this.#code.u8(LOCAL_SET)
    this.#code.u32(local.index)
    this.#set = { local: local.index, start, end: this.#code.length }
  }

  drop(e: Expr): void {
    this.#expr(e)
    this.#code.u8(0x1a)
  }

  store(kind: StoreKind, address: Expr, value: Expr, offset = 0): void {
    this.#expr(address)
    this.#expr(value)
    this.#code.u8(STORES[kind])
    this.#code.u32(0)
    this.#code.u32(offset)
  }

  block(body: (end: Label) => void): void {
    this.#open(0x02, body)
  }

  loop(body: (start: Label) => void): void {
    this.#open(0x03, body)
  }

  if(condition: Expr, then: () => void, otherwise?: () => void, hint?: Hint): void {
    this.#expr(condition)
    this.#hint(hint)
    this.#code.u8(0x04)
    this.#code.u8(BLOCK_VOID)
    this.#depth++
    then()
    if (otherwise !== undefined) {
      this.#code.u8(0x05)
      otherwise()
    }
    this.#depth--
    this.#code.u8(0x0b)
  }

  br(label: Label): void {
    this.#code.u8(0x0c)
    this.#code.u32(this.#relative(label))
  }

  brIf(label: Label, condition: Expr, hint?: Hint): void {
    this.#expr(condition)
    this.#hint(hint)
    this.#code.u8(0x0d)
    this.#code.u32(this.#relative(label))
  }

  brTable(index: Expr, labels: readonly Label[], otherwise: Label): void {
    this.#expr(index)
    this.#code.u8(0x0e)
    this.#code.u32(labels.length)
    for (const label of labels) this.#code.u32(this.#relative(label))
    this.#code.u32(this.#relative(otherwise))
  }

  return(...values: Expr[]): void {
    for (const v of values) this.#expr(v)
    this.#code.u8(0x0f)
  }

  unreachable(): void {
    this.#code.u8(0x00)
  }

  call(functionIndex: number, ...args: Expr[]): void {
    for (const a of args) this.#expr(a)
    this.#code.u8(0x10)
    this.#code.u32(functionIndex)
  }

  returnCall(functionIndex: number, ...args: Expr[]): void {
    for (const a of args) this.#expr(a)
    this.#code.u8(0x12)
    this.#code.u32(functionIndex)
  }

  /** Calls through table 0; `into` takes the single result. */
  callIndirect(typeIndex: number, tableIndex: Expr, args: readonly Expr[], into: Local): void {
    for (const a of args) this.#expr(a)
    this.#expr(tableIndex)
    this.#code.u8(0x11)
    this.#code.u32(typeIndex)
    this.#code.u32(0)
    this.#code.u8(0x21)
    this.#code.u32(into.index)
  }

  returnCallIndirect(typeIndex: number, tableIndex: Expr, ...args: Expr[]): void {
    for (const a of args) this.#expr(a)
    this.#expr(tableIndex)
    this.#code.u8(0x13)
    this.#code.u32(typeIndex)
    this.#code.u32(0)
  }

  memoryFill(address: Expr, value: Expr, length: Expr): void {
    this.#expr(address)
    this.#expr(value)
    this.#expr(length)
    this.#code.u8(0xfc)
    this.#code.u32(11)
    this.#code.u8(0)
  }

  /** The encoded body without its size, and the branch hints with offsets from the body's first byte. */
  finish(): { body: Uint8Array; hints: { offset: number; likely: boolean }[] } {
    const header = new ByteWriter(this.#code.length + 64)
    const runs: [ValueType, number][] = []
    for (const type of this.#localTypes) {
      const last = runs.at(-1)
      if (last !== undefined && last[0] === type) last[1]++
      else runs.push([type, 1])
    }
    header.u32(runs.length)
    for (const [type, count] of runs) {
      header.u32(count)
      header.u8(TYPE_CODES[type])
    }
    const headerLength = header.length
    header.bytes(this.#code.view())
    header.u8(0x0b)
    // The next function builds on this one's buffer: growing a new one each time costs more than all else.
    this.#code.clear()
    spare.push(this.#code)
    return {
      body: header.view(),
      hints: this.#hints.map((h) => ({ offset: h.offset + headerLength, likely: h.likely })),
    }
  }

  #open(opcode: number, body: (label: Label) => void): void {
    this.#code.u8(opcode)
    this.#code.u8(BLOCK_VOID)
    this.#depth++
    body({ depth: this.#depth })
    this.#depth--
    this.#code.u8(0x0b)
  }

  #relative(label: Label): number {
    return this.#depth - label.depth
  }

  #hint(hint: Hint | undefined): void {
    if (hint !== undefined) this.#hints.push({ offset: this.#code.length, likely: hint === 'likely' })
  }

  #expr(e: Expr): void {
    const code = this.#code
    switch (e.kind) {
      case 'const':
        this.#constant(e)
        return
      case 'local':
        if (this.#set.local === e.code && this.#set.end === code.length) {
          // What was just set is read.
          code.replace(this.#set.start, LOCAL_TEE)
          this.#set.local = -1
          return
        }
        code.u8(0x20)
        code.u32(e.code)
        return
      case 'global':
        code.u8(0x23)
        code.u32(e.code)
        return
      case 'call':
        for (const a of e.args) this.#expr(a)
        code.u8(0x10)
        code.u32(e.code)
        return
      case 'load':
        this.#expr(e.args[0])
        this.#opcode(e.code)
        code.u32(0)
        code.u32(e.value as number)
        return
      case 'plain':
      case 'select':
        for (const a of e.args) this.#expr(a)
        this.#opcode(e.code)
        // Lane extraction carries its lane as an immediate.
        if (e.code === 0xfd1f || e.code === 0xfd21) code.u8(0)
        return
    }
  }

  #opcode(value: number): void {
    if (value < 0x100) {
      this.#code.u8(value)
      return
    }
    // A prefixed opcode: the prefix byte, then the rest as LEB128.
    const wide = value >= 0x10000
    this.#code.u8(wide ? value >>> 12 : value >>> 8)
    this.#code.u32(wide ? value & 0xfff : value & 0xff)
  }

  #constant(e: Expr): void {
    const code = this.#code
    switch (e.type) {
      case 'i32':
        code.u8(0x41)
        code.i32(e.value as number)
        return
      case 'i64':
        code.u8(0x42)
        code.i64(e.value)
        return
      case 'f64': {
        code.u8(0x44)
        code.bytes(new Uint8Array(new Float64Array([e.value as number]).buffer))
        return
      }
      case 'f32': {
        code.u8(0x43)
        code.bytes(new Uint8Array(new Float32Array([e.value as number]).buffer))
        return
      }
      case 'v128':
        throw new Error('vector constants are not used')
    }
  }
}
