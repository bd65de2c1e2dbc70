/**
 * Many programs in one bare-metal image, so that the cost of starting an emulator is paid once.
 *
 * Each program owns a slot of 4 KiB with its data, its constants, its initial registers and, in the end, the dump
 * of its registers. The image is the same for every emulator but for its last instructions, which hand the
 * results out: QEMU writes them to a file by semihosting; on our machine the test reads them from RAM.
 */
import { Assembler, type Label } from '../../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../../src/machine/cpu/isa-test/elf.ts'
import { type Environment, emitExit } from '../../src/machine/cpu/isa-test/exit.ts'
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

export const RAM_BASE = 0x8000_0000
const PAGE_BYTES = 4096
const SLOT_BYTES = PAGE_BYTES
/** The middle of each data area is a page boundary. */
const SLOT_PAGE_OFFSET = PAGE_BYTES - DATA_HALF_BYTES
/**
 * Regions are compiled after a first visit, and all programs of a pass before the next: from the second pass on,
 * compiled code runs. Each pass starts from the data that the one before left, so all of them count.
 */
const PASSES = 3
const INITIAL_OFFSET = 3072
const FCSR = 0x003
const MSTATUS = 0x300
const MTVEC = 0x305
const MEPC = 0x341
const MCAUSE = 0x342
const MTVAL = 0x343
const MSTATUS_FS_BIT = 13
/** Farthest distance a conditional branch is trusted with; beyond it a jump is put in between. */
const BRANCH_REACH_BYTES = 3500

const A0 = 10
const T0 = 5
const T1 = 6

export interface Batch {
  readonly elf: Uint8Array
  /** Address and length of the results: a page for unexpected traps, then the slots. */
  readonly results: number
  readonly resultsBytes: number
  /** Static count of the programs' own instructions, without loading and dumping. */
  readonly instructions: number
  /** Where each program's code lies, to find the program that trapped. */
  readonly programAddresses: readonly number[]
}

export interface ProgramResult {
  readonly data: Uint8Array
  /** x0-x31, f0-f31, fcsr. */
  readonly registers: readonly bigint[]
}

export interface UnexpectedTrap {
  readonly cause: bigint
  readonly pc: bigint
  readonly value: bigint
}

export interface BatchResult {
  readonly trap: UnexpectedTrap | null
  readonly programs: readonly ProgramResult[]
}

export function buildBatch(programs: readonly Program[], environment: Environment): Batch {
  const asm = new Assembler(RAM_BASE)
  const results = asm.label('results')
  const tohost = asm.label('tohost')
  const exit = asm.label('exit')
  const handler = asm.label('handler')
  const resultsBytes = PAGE_BYTES + SLOT_BYTES * (programs.length + 1)

  asm.loadAddress(T0, handler)
  asm.emit('csrrw', 0, MTVEC, T0)
  asm.emit('lui', T0, 3 << (MSTATUS_FS_BIT - 12))
  asm.emit('csrrs', 0, MSTATUS, T0)

  let instructions = 0
  const slots = programs.map((_, n) => asm.label(`slot ${n}`))
  const firstProgram = asm.here('first program')
  const programAddresses = programs.map((program, n) => {
    const address = asm.address
    instructions += emitProgram(asm, program, slots[n]!)
    return address
  })
  const passesLeft = asm.label('passes left')
  asm.loadAddress(T0, passesLeft)
  asm.emit('lw', T1, T0, 0)
  asm.emit('addi', T1, T1, -1)
  asm.emit('sw', T1, T0, 0)
  asm.emitTo(exit, 'beq', T1, 0)
  // The programs together may be longer than JAL reaches.
  asm.loadAddress(T0, firstProgram)
  asm.emit('jalr', 0, T0, 0)
  asm.bind(exit)
  emitExit(asm, environment, { results, resultsBytes, tohost })

  asm.align(4)
  asm.bind(handler)
  asm.loadAddress(A0, results)
  for (const [n, csr] of [MCAUSE, MEPC, MTVAL].entries()) {
    asm.emit('csrrs', T1, csr, 0)
    asm.emit('sd', T1, A0, 8 * n + 8)
  }
  asm.emit('addi', T1, 0, 1)
  asm.emit('sd', T1, A0, 0)
  asm.emitTo(exit, 'jal', 0)

  asm.align(PAGE_BYTES)
  asm.bind(results)
  asm.advanceTo(asm.address + SLOT_PAGE_OFFSET)
  programs.forEach((program, n) => {
    asm.bind(slots[n]!)
    const start = asm.address
    asm.bytes(program.data)
    asm.advanceTo(start + DATA_HALF_BYTES + POOL_OFFSET)
    for (const value of program.pool) asm.double(value)
    asm.advanceTo(start + INITIAL_OFFSET)
    for (const value of program.integers) asm.double(value)
    for (const value of program.floats) asm.double(value)
    asm.double(BigInt(program.fcsr))
    asm.advanceTo(start + SLOT_BYTES)
  })
  asm.align(PAGE_BYTES)
  asm.bind(tohost)
  asm.double(0n)
  asm.align(PAGE_BYTES)
  asm.bind(passesLeft)
  asm.word(PASSES)
  const bytes = asm.finish()
  const symbols = { tohost: asm.addressOf(tohost) }
  return {
    elf: writeElf({ base: RAM_BASE, bytes, symbols }),
    results: asm.addressOf(results),
    resultsBytes,
    instructions,
    programAddresses,
  }
}

export function readResults(bytes: Uint8Array, programs: number): BatchResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const u64 = (offset: number) => view.getBigUint64(offset, true)
  const trap = u64(0) === 0n ? null : { cause: u64(8), pc: u64(16), value: u64(24) }
  return {
    trap,
    programs: Array.from({ length: programs }, (_, n) => {
      const slot = SLOT_PAGE_OFFSET + n * SLOT_BYTES
      const dump = slot + DATA_HALF_BYTES + DUMP_OFFSET
      return {
        data: bytes.subarray(slot, slot + DATA_BYTES),
        registers: Array.from({ length: DUMP_BYTES / 8 }, (_, r) => u64(dump + 8 * r)),
      }
    }),
  }
}

/** Loads the registers, runs the items, dumps the registers. Returns the static count of the items' instructions. */
function emitProgram(asm: Assembler, program: Program, slot: Label): number {
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
