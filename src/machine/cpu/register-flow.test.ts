import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from './instruction-set.ts'
import type { Block, PlacedInstruction, Terminator } from './region-graph.ts'
import { type RegionFlow, registerFlow, storesAhead } from './register-flow.ts'
import { floatFile, integerFile } from './register-use.ts'

function placed(word: number): PlacedInstruction {
  const instruction = decode(word)
  if (instruction === null) throw new Error(`no instruction: ${word}`)
  return { offset: 0, length: 4, word, instruction, immediate: 0 }
}

const registerNumber = fc.nat(5)
const fields = (rd: number, rs1: number, rs2: number): number => (rd << 7) | (rs1 << 15) | (rs2 << 20)
/** add, ld (which may leave the region) or sd (the same, and writes no register). */
const instructions = fc
  .tuple(fc.constantFrom(0x33, 0x3003, 0x3023), registerNumber, registerNumber, registerNumber)
  .map(([opcode, rd, rs1, rs2]) => placed(opcode | fields(rd, rs1, rs2)))

/** Up to eight blocks; only what the flow looks at is filled in. */
const regions: fc.Arbitrary<RegionFlow> = fc.integer({ min: 1, max: 8 }).chain((count) =>
  fc
    .array(
      fc.record({
        instructions: fc.array(instructions, { maxLength: 4 }),
        isCall: fc.boolean(),
        successors: fc.uniqueArray(fc.nat(count - 1), { maxLength: 2 }),
        before: fc.boolean(),
        after: fc.boolean(),
      }),
      { minLength: count, maxLength: count },
    )
    .map((nodes) => ({
      blocks: nodes.map((n, offset): Block => {
        const terminator: Terminator = n.isCall
          ? { kind: 'call', target: null, returnTo: 0 }
          : { kind: 'leave' }
        return { context: 0, offset, instructions: n.instructions, terminator }
      }),
      order: nodes.map((_, i) => i),
      successors: nodes.map((n) => n.successors),
      mayLeaveBefore: nodes.map((n) => n.before),
      mayLeaveAfter: nodes.map((n) => n.after || n.successors.length === 0),
    })),
)

/** What a region's code does with one register file: locals that hold a value or nothing, and memory. */
class Execution {
  readonly #flow
  readonly #region: RegionFlow
  readonly #locals: (number | undefined)[] = new Array(32)
  readonly #memory: number[] = Array.from({ length: 32 }, (_, i) => i)
  /** What each register holds by the meaning of the program. */
  readonly #true: number[] = [...this.#memory]
  #dirty = 0
  #next = 1000

  constructor(region: RegionFlow) {
    this.#region = region
    this.#flow = registerFlow(region, integerFile)
    this.#load(this.#flow.liveIn[0])
  }

  /** Walks along the blocks that `choices` picks, checking each read and what each exit would leave in memory. */
  walk(choices: readonly number[]): void {
    const { blocks, successors, mayLeaveBefore, mayLeaveAfter } = this.#region
    let node = 0
    for (const choice of choices) {
      this.#dirty = this.#flow.dirtyIn[node]
      if (mayLeaveBefore[node]) this.#leave()
      const isAhead = storesAhead(blocks[node])
      for (const one of blocks[node].instructions) this.#execute(one, isAhead)
      const isCall = blocks[node].terminator.kind === 'call'
      if (mayLeaveAfter[node] || isCall) this.#leave()
      if (successors[node].length === 0) return
      node = successors[node][choice % successors[node].length]
      if (isCall) this.#call(node)
    }
  }

  #execute(one: PlacedInstruction, isAhead: boolean): void {
    for (let i = 0; i < 32; i++) {
      if ((integerFile.read(one) >>> i) & 1) expect(this.#locals[i]).toBe(this.#true[i])
    }
    if (isAhead && integerFile.isStoredBefore(one)) this.#store()
    if (one.instruction.uses.length > 0) this.#leave()
    const written = integerFile.written(one)
    for (let i = 0; i < 32; i++) if ((written >>> i) & 1) this.#locals[i] = this.#true[i] = this.#next++
    this.#dirty |= written
  }

  #store(): void {
    for (let i = 0; i < 32; i++) if ((this.#dirty >>> i) & 1) this.#memory[i] = this.#locals[i] as number
    this.#dirty = 0
  }

  #leave(): void {
    for (let i = 0; i < 32; i++) {
      expect((this.#dirty >>> i) & 1 ? this.#locals[i] : this.#memory[i]).toBe(this.#true[i])
    }
  }

  /** The callee finds memory as it should be, and changes all of it. */
  #call(returnTo: number): void {
    for (let i = 0; i < 32; i++) {
      this.#memory[i] = this.#true[i] = this.#next++
      this.#locals[i] = undefined
    }
    this.#load(this.#flow.liveIn[returnTo])
  }

  #load(registers: number): void {
    for (let i = 0; i < 32; i++) if ((registers >>> i) & 1) this.#locals[i] = this.#memory[i]
  }
}

describe('the flow of registers through a region', () => {
  it('has every register at hand where it is read, and every exit leaves memory right', () => {
    fc.assert(
      fc.property(regions, fc.array(fc.nat(1), { maxLength: 30 }), (region, choices) => {
        new Execution(region).walk(choices)
      }),
      { numRuns: 2000 },
    )
  })

  it('loads nothing that is written first, and stores nothing that is not written', () => {
    // add x1, x2, x3; sd x1, 0(x4)
    const block: Block = {
      context: 0,
      offset: 0,
      instructions: [placed(0x33 | fields(1, 2, 3)), placed(0x3023 | fields(0, 4, 1))],
      terminator: { kind: 'leave' },
    }
    const region = {
      blocks: [block],
      order: [0],
      successors: [[]],
      mayLeaveBefore: [true],
      mayLeaveAfter: [true],
    }
    const { liveIn, dirtyIn } = registerFlow(region, integerFile)
    expect(liveIn[0]).toBe((1 << 2) | (1 << 3) | (1 << 4))
    expect(dirtyIn[0]).toBe(0)
  })
})

describe('the registers that an instruction names', () => {
  it.each([
    ['addi x1, x2, 3', 0x00310093, 1 << 2, 1 << 1],
    ['lui x1', 0x000000b7, 0, 1 << 1],
    ['sd x1, 0(x2)', 0x00113023, (1 << 1) | (1 << 2), 0],
    ['beq x1, x2', 0x00208063, (1 << 1) | (1 << 2), 0],
    ['add x0, x1, x2', 0x00208033, (1 << 1) | (1 << 2), 0],
    ['amoadd.d x1, x2, (x3)', 0x0021b0af, (1 << 2) | (1 << 3), 1 << 1],
    ['csrrw x1, mscratch, x2', 0x340110f3, 1 << 2, 1 << 1],
    ['csrrwi x1, mscratch, 2', 0x340150f3, 0, 1 << 1],
    ['sfence.vma x1, x2', 0x12208073, 1 << 1, 0],
    ['jalr x1, x2', 0x000100e7, 1 << 2, 1 << 1],
    ['fld f1, 0(x2)', 0x00013087, 1 << 2, 0],
    ['fcvt.l.d x1, f2', 0xc22170d3 | 0, 0, 1 << 1],
  ])('%s', (_text, word, read, written) => {
    expect(integerFile.read(placed(word))).toBe(read)
    expect(integerFile.written(placed(word))).toBe(written)
  })

  it('fmadd.d f0, f1, f2, f31', () => {
    const one = placed(0xfa20f043 | 0)
    expect(floatFile.read(one)).toBe((1 << 1) | (1 << 2) | (1 << 31))
    expect(floatFile.written(one)).toBe(1)
    expect(integerFile.read(one)).toBe(0)
  })
})
