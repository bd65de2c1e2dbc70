/** The code of one random program and the memory it owns. */
import type { Assembler, Label } from '../../src/machine/cpu/isa-test/assembler.ts'
import { formOf, listing, type Mnemonic } from '../../src/machine/cpu/isa-test/instructions.ts'
import {
  DATA_BYTES,
  DATA_HALF_BYTES,
  DUMP_BYTES,
  DUMP_OFFSET,
  type Instruction,
  type Item,
  POOL_OFFSET,
  type Program,
} from './program.ts'

const PAGE_BYTES = 4096
/** Each program owns a slot with its data, its constants, its initial registers and, in the end, its dump. */
export const SLOT_BYTES = PAGE_BYTES
/** Where in a page slots begin: the middle of each data area is a page boundary. */
export const SLOT_PAGE_OFFSET = PAGE_BYTES - DATA_HALF_BYTES
export const INITIAL_OFFSET = 3072
const FCSR = 0x003
/** Farthest distance a conditional branch is trusted with; beyond it a jump is put in between. */
const BRANCH_REACH_BYTES = 3500
const T0 = 5
const T1 = 6

export interface ProgramResult {
  readonly data: Uint8Array
  /** x0-x31, f0-f31, fcsr. */
  readonly registers: readonly bigint[]
}

/** The slot of a program before it runs. */
export function emitSlot(asm: Assembler, program: Program): void {
  const start = asm.address
  asm.bytes(program.data)
  asm.advanceTo(start + DATA_HALF_BYTES + POOL_OFFSET)
  for (const value of program.pool) asm.double(value)
  asm.advanceTo(start + INITIAL_OFFSET)
  for (const value of program.integers) asm.double(value)
  for (const value of program.floats) asm.double(value)
  asm.double(BigInt(program.fcsr))
  asm.advanceTo(start + SLOT_BYTES)
}

/** What a program left in its slot, which begins at `offset` of `bytes`. */
export function readSlot(bytes: Uint8Array, offset: number): ProgramResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, SLOT_BYTES)
  const dump = DATA_HALF_BYTES + DUMP_OFFSET
  return {
    data: bytes.subarray(offset, offset + DATA_BYTES),
    registers: Array.from({ length: DUMP_BYTES / 8 }, (_, n) => view.getBigUint64(dump + 8 * n, true)),
  }
}

/**
 * Loads the registers, runs the items, dumps the registers. `beforeDump` emits what must
 * happen between. Returns the static count of the items' instructions.
 */
export function emitProgram(
  asm: Assembler,
  program: Program,
  slot: Label,
  beforeDump: () => void = () => undefined,
): number {
  const { baseRegister } = program
  asm.loadAddress(baseRegister, slot)
  asm.li(baseRegister === T0 ? T1 : T0, INITIAL_OFFSET)
  asm.emit('add', baseRegister, baseRegister, baseRegister === T0 ? T1 : T0)
  for (let f = 0; f < 32; f++) asm.emit('fld', f, baseRegister, 8 * (32 + f))
  asm.emit('lw', baseRegister === T0 ? T1 : T0, baseRegister, 8 * 64)
  asm.emit('csrrw', 0, FCSR, baseRegister === T0 ? T1 : T0)
  for (let x = 1; x < 32; x++) if (x !== baseRegister) asm.emit('ld', x, baseRegister, 8 * x)
  asm.loadAddress(baseRegister, slot)
  asm.emit('addi', baseRegister, baseRegister, DATA_HALF_BYTES)

  const emitter = new ItemEmitter(asm)
  emitter.items(program.items)
  const end = asm.label()
  asm.emitTo(end, 'jal', 0)
  emitter.subroutines()
  asm.bind(end)
  beforeDump()

  for (let x = 0; x < 32; x++) asm.emit('sd', x, baseRegister, DUMP_OFFSET + 8 * x)
  for (let f = 0; f < 32; f++) asm.emit('fsd', f, baseRegister, DUMP_OFFSET + 8 * (32 + f))
  const spare = baseRegister === T0 ? T1 : T0
  asm.emit('csrrs', spare, FCSR, 0)
  asm.emit('sd', spare, baseRegister, DUMP_OFFSET + 8 * 64)
  return emitter.instructions
}

class ItemEmitter {
  instructions = 0
  readonly #asm: Assembler
  readonly #pending: { readonly label: Label; readonly link: number; readonly items: readonly Item[] }[] = []

  constructor(asm: Assembler) {
    this.#asm = asm
  }

  items(items: readonly Item[]): void {
    for (const item of items) this.#item(item)
  }

  /** Emits the bodies of the calls made so far, and of the calls they make. */
  subroutines(): void {
    for (;;) {
      const next = this.#pending.shift()
      if (next === undefined) return
      this.#asm.bind(next.label)
      this.items(next.items)
      this.#emit('jalr', 0, next.link, 0)
    }
  }

  #emit(mnemonic: Mnemonic, ...operands: number[]): void {
    this.instructions += 1
    this.#asm.emit(mnemonic, ...operands)
  }

  #emitTo(label: Label, mnemonic: Mnemonic, ...operands: number[]): void {
    this.instructions += 1
    this.#asm.emitTo(label, mnemonic, ...operands)
  }

  #item(item: Item): void {
    const asm = this.#asm
    switch (item.kind) {
      case 'run':
        for (const { mnemonic, operands } of item.instructions) this.#emit(mnemonic, ...operands)
        break
      case 'word':
        this.instructions += 1
        asm.word(item.word)
        break
      case 'skip': {
        const over = asm.label()
        this.#branch(over, item.branch, sizeOf(item.items))
        this.items(item.items)
        asm.bind(over)
        break
      }
      case 'loop': {
        this.#emit('addi', item.counter, 0, item.times)
        const start = asm.here()
        this.items(item.items)
        this.#emit('addi', item.counter, item.counter, -1)
        this.#branch(start, { mnemonic: 'bne', operands: [item.counter, 0] }, sizeOf(item.items))
        break
      }
      case 'call': {
        const label = asm.label()
        this.#pending.push({ label, link: item.link, items: item.items })
        if (item.indirect) {
          asm.loadAddress(item.scratch, label)
          this.instructions += 2
          this.#emit('jalr', item.link, item.scratch, 0)
        } else this.#emitTo(label, 'jal', item.link)
        break
      }
    }
  }

  #branch(target: Label, { mnemonic, operands }: Instruction, distanceBytes: number): void {
    if (mnemonic === 'jal' || distanceBytes < BRANCH_REACH_BYTES) {
      this.#emitTo(target, mnemonic, ...operands)
      return
    }
    const taken = this.#asm.label()
    const onwards = this.#asm.label()
    this.#emitTo(taken, mnemonic, ...operands)
    this.#emitTo(onwards, 'jal', 0)
    this.#asm.bind(taken)
    this.#emitTo(target, 'jal', 0)
    this.#asm.bind(onwards)
  }
}

/** An upper bound of the bytes that items take in place. */
function sizeOf(items: readonly Item[]): number {
  let bytes = 0
  for (const item of items) {
    if (item.kind === 'run') for (const { mnemonic } of item.instructions) bytes += formOf(mnemonic).bytes
    else if (item.kind === 'word') bytes += 4
    else bytes += 24 + (item.kind === 'call' ? 0 : sizeOf(item.items))
  }
  return bytes
}

/** A program for people, indented by its structure. */
export function programListing(items: readonly Item[], indent = ''): string {
  return items
    .map((item) => {
      switch (item.kind) {
        case 'run':
          return item.instructions
            .map(({ mnemonic, operands }) => `${indent}${listing(mnemonic, operands)}`)
            .join('\n')
        case 'word':
          return `${indent}.word 0x${item.word.toString(16)}`
        case 'skip':
          return `${indent}${item.branch.mnemonic} ${item.branch.operands.join(', ')} over {\n${programListing(item.items, `${indent}  `)}\n${indent}}`
        case 'loop':
          return `${indent}loop ${item.times} times on x${item.counter} {\n${programListing(item.items, `${indent}  `)}\n${indent}}`
        case 'call':
          return `${indent}call through x${item.link} {\n${programListing(item.items, `${indent}  `)}\n${indent}}`
        default:
          return ''
      }
    })
    .filter((lines) => lines !== '')
    .join('\n')
}
