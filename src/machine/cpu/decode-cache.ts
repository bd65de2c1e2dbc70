/**
 * Instructions decoded once: a direct-mapped cache of records, found by the memory address of the instruction.
 *
 * A record holds the bytes it was made from and is used only while memory still holds the same. So nothing has to be
 * forgotten when code changes, and what the cache holds makes no difference to a guest. A cache full of zeros is
 * valid, too: a record of handler 0 leaves everything to the single step.
 */
import { type Expr, i32 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Local } from '../../wasm/function.ts'
import { ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { decisionTree, emitDecisions, emitSwitch } from './decision-tree.ts'
import { immediateField, registerField } from './instruction-fields.ts'
import { DECODED_BYTES, DECODED_RECORD_BYTES, DISCARD, PAGE_BYTES } from './layout.ts'
import type { ImmediateFormat, Instruction } from './semantics.ts'
import { xAddress } from './state.ts'

/** Offsets in a record. */
export const RECORD = {
  /** u32: the instruction's bytes; for one of 16 bits with the two bytes that follow. */
  raw: 0,
  /** i32, sign-extended. */
  immediate: 4,
  /** u16 each: byte offsets of the registers from x0; an rd of x0 is that of `DISCARD`. */
  rd: 8,
  rs1: 10,
  rs2: 12,
  /** u16: number of the handler, or 0 for the single step. */
  handler: 14,
} as const

/** What executes a decoded instruction of one length. */
export interface Handler {
  readonly instruction: Instruction
  readonly length: 2 | 4
}

/** Memory address of the record for the instruction at a memory address: each halfword has a place of its own. */
export function recordAt(core: CoreFunctions, at: Expr): Expr {
  return i32.add(
    i32.and(i32.shl(at, i32.const(3)), i32.const(DECODED_BYTES - DECODED_RECORD_BYTES)),
    i32.const(core.layout.decoded),
  )
}

/**
 * Defines `decode`, which makes the record for what stands at a memory address. `handlers[n]` has the number n + 1;
 * all of them write integer registers only.
 */
export function defineDecode(core: CoreFunctions, handlers: readonly Handler[]): void {
  const kinds = kindsOf(handlers)
  const tree = decisionTree([...kinds.keys()])
  core.define('decode', (f, at, record) => {
    const raw = f.keep(i32.load(at))
    const isShort = f.keep(i32.ne(i32.and(raw.get, i32.const(3)), i32.const(3)))
    f.store('i32', record, raw.get, RECORD.raw)
    f.store('i32_16', record, ZERO, RECORD.handler)
    const word = f.keep(raw.get)
    f.if(
      isShort.get,
      () =>
        f.set(
          word,
          i32.load(i32.shl(i32.and(raw.get, i32.const(0xffff)), i32.const(2)), core.layout.expansion),
        ),
      // Its second half lies in another page, which may lie anywhere.
      () => f.if(i32.eq(i32.and(at, i32.const(PAGE_BYTES - 1)), i32.const(PAGE_BYTES - 2)), () => f.return()),
    )
    const kind = f.keep(ZERO)
    f.block((known) => {
      emitDecisions(f, tree, word.get, {
        leaf: (instruction) => {
          f.set(kind, i32.const(kinds.get(instruction) ?? 0))
          f.br(known)
        },
        illegal: () => f.return(),
      })
    })
    storeOperands(f, record, word, kind)
    const number = i32.shrU(kind.get, i32.shl(isShort.get, i32.const(SHORT_SHIFT_LOG)))
    f.store('i32_16', record, i32.and(number, i32.const(0xff)), RECORD.handler)
  })
}

const FORMATS: readonly ImmediateFormat[] = ['none', 'I', 'S', 'B', 'U', 'J', 'shamt6', 'shamt5', 'zimm']
/** A kind: number of the handler for four bytes in bits 7:0, of that for two in 15:8, the format above. */
const SHORT_SHIFT_LOG = 3
const FORMAT_SHIFT = 16

function kindsOf(handlers: readonly Handler[]): Map<Instruction, number> {
  if (handlers.length > 0xff) throw new Error('more handlers than a record can name')
  const kinds = new Map<Instruction, number>()
  handlers.forEach(({ instruction, length }, i) => {
    const known = kinds.get(instruction) ?? FORMATS.indexOf(instruction.immediate) << FORMAT_SHIFT
    kinds.set(instruction, known | ((i + 1) << (length === 2 ? 8 : 0)))
  })
  return kinds
}

function storeOperands(f: FunctionBuilder, record: Expr, word: Local, kind: Local): void {
  f.block((stored) => {
    emitSwitch(f, i32.shrU(kind.get, i32.const(FORMAT_SHIFT)), FORMATS, (format) => {
      f.store('i32', record, immediateField(word.get, format), RECORD.immediate)
      f.br(stored)
    })
  })
  const rd = f.keep(registerField(word.get, 'rd'))
  f.if(i32.eqz(rd.get), () => f.set(rd, i32.const(DISCARD - xAddress(0))))
  f.store('i32_16', record, rd.get, RECORD.rd)
  f.store('i32_16', record, registerField(word.get, 'rs1'), RECORD.rs1)
  f.store('i32_16', record, registerField(word.get, 'rs2'), RECORD.rs2)
}
