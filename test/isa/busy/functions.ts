/** The code of a busy program: position-independent, every function at its fixed offset, whatever is dropped from it. */
import { Assembler, type Label } from '../../../src/machine/cpu/isa-test/assembler.ts'
import { formOf } from '../../../src/machine/cpu/isa-test/instructions.ts'
import { CSR, STATUS } from '../../../src/machine/cpu/isa-test/privileged.ts'
import type { Instruction } from '../program.ts'
import { ALIAS_SHIFT, ALIASES, CATCH_OFFSET, CODE_BYTES, FENCE, REGISTER, SERVICE } from './layout.ts'
import type { Access, BusyFunction, BusyProgram, Edit, Place, Step } from './program.ts'
import { innerSteps, sizeOf } from './step-words.ts'
import { satp } from './tables.ts'

/** Farthest distance a conditional branch is trusted with; beyond it a jump is put in between. */
const BRANCH_REACH_BYTES = 3500
const FRAME_BYTES = 32
const CATCH_FRAME_BYTES = 48
const CATCH_FIELDS = 3
const [OUTER, INNER] = REGISTER.counters
const LIFTED = [OUTER, INNER, REGISTER.recursion] as const
/** Bits of the generator that decide things: the upper ones are the random ones. */
const DECISION_SHIFT = 44
const RANDOM_STEPS = [13, 101, 1001, 77] as const

/** The pages of code in one of their two variants. */
export function emitCode(program: BusyProgram, region: number, variant: 0 | 1): Uint8Array {
  return new CodeEmitter(program, region, variant).emit()
}

class CodeEmitter {
  readonly #asm = new Assembler(0)
  readonly #program: BusyProgram
  readonly #region: number
  readonly #variant: 0 | 1
  readonly #functions: readonly Label[]
  readonly #points = new Map<number, Label>()
  readonly #tables: { readonly table: Label; readonly cases: readonly Label[] }[] = []
  #decisions = 0

  constructor(program: BusyProgram, region: number, variant: 0 | 1) {
    this.#program = program
    this.#region = region
    this.#variant = variant
    this.#functions = program.functions.map((_, n) => this.#asm.label(`function ${n}`))
    for (const { steps } of program.functions) this.#declarePoints(steps)
  }

  emit(): Uint8Array {
    const asm = this.#asm
    // Twice, for returns that skip an instruction.
    asm.li(REGISTER.scratch, SERVICE.return)
    asm.li(REGISTER.scratch, SERVICE.return)
    asm.emit('ecall')
    const order = this.#program.functions.map((f, n) => ({ f, n })).sort((a, b) => a.f.offset - b.f.offset)
    for (const { f, n } of order) {
      asm.advanceTo(f.offset)
      asm.bind(this.#functions[n]!)
      this.#function(f, n)
      this.#emitTables()
    }
    asm.advanceTo(CODE_BYTES)
    return asm.finish()
  }

  #declarePoints(steps: readonly Step[]): void {
    for (const step of steps) {
      if (step.kind === 'point') this.#points.set(step.point, this.#asm.label(`point ${step.point}`))
      else for (const inner of innerSteps(step)) this.#declarePoints(inner)
    }
  }

  #function(f: BusyFunction, n: number): void {
    const asm = this.#asm
    switch (f.kind) {
      case 'main':
        this.#main(f)
        return
      case 'leaf':
        this.#steps(f.steps)
        this.#return(f)
        return
      case 'plain':
        this.#push(FRAME_BYTES, REGISTER.return, OUTER, INNER)
        this.#steps(f.steps)
        this.#pop(FRAME_BYTES, REGISTER.return, OUTER, INNER)
        this.#return(f)
        return
      case 'recursive': {
        const bottom = asm.label()
        const onwards = asm.label()
        asm.emitTo(onwards, 'bne', REGISTER.recursion, 0)
        asm.emitTo(bottom, 'jal', 0)
        asm.bind(onwards)
        asm.emit('addi', REGISTER.recursion, REGISTER.recursion, -1)
        this.#push(16, REGISTER.return)
        this.#steps(f.steps)
        asm.emitTo(this.#functions[n]!, 'jal', REGISTER.return)
        asm.emit('addi', REGISTER.hash, REGISTER.hash, 1)
        asm.emit('rori', REGISTER.hash, REGISTER.hash, 7)
        this.#pop(16, REGISTER.return)
        asm.bind(bottom)
        this.#return(f)
        return
      }
    }
  }

  #main(f: BusyFunction): void {
    const asm = this.#asm
    asm.li(REGISTER.mainLoop, this.#program.iterations)
    const again = asm.here()
    const done = asm.label()
    this.#steps(f.steps)
    asm.emit('addi', REGISTER.mainLoop, REGISTER.mainLoop, -1)
    asm.emitTo(done, 'beq', REGISTER.mainLoop, 0)
    asm.emitTo(again, 'jal', 0)
    asm.bind(done)
    asm.li(REGISTER.scratch, SERVICE.end)
    asm.emit('ecall')
  }

  #return({ link, skewed, tail }: BusyFunction): void {
    const asm = this.#asm
    if (tail !== null) {
      asm.emitTo(this.#functions[tail]!, 'jal', 0)
      return
    }
    if (skewed) {
      this.#decide()
      asm.emit('andi', REGISTER.scratch, REGISTER.scratch, 4)
      asm.emit('add', link, link, REGISTER.scratch)
    }
    asm.emit('jalr', 0, link, 0)
  }

  #push(bytes: number, ...registers: readonly number[]): void {
    this.#asm.emit('addi', REGISTER.stack, REGISTER.stack, -bytes)
    for (const [n, x] of registers.entries()) this.#asm.emit('sd', x, REGISTER.stack, 8 * n)
  }

  #pop(bytes: number, ...registers: readonly number[]): void {
    for (const [n, x] of registers.entries()) this.#asm.emit('ld', x, REGISTER.stack, 8 * n)
    this.#asm.emit('addi', REGISTER.stack, REGISTER.stack, bytes)
  }

  #steps(steps: readonly Step[]): void {
    for (const step of steps) this.#step(step)
  }

  /** Random bits into the scratch register. */
  #decide(): void {
    const { random, scratch } = REGISTER
    this.#asm.emit('sh3add', random, random, random)
    this.#asm.emit('addi', random, random, RANDOM_STEPS[this.#decisions++ % RANDOM_STEPS.length]!)
    this.#asm.emit('srli', scratch, random, DECISION_SHIFT)
  }

  #step(step: Step): void {
    const asm = this.#asm
    const { scratch, value } = REGISTER
    switch (step.kind) {
      case 'run':
        for (const { mnemonic, operands } of step.instructions) asm.emit(mnemonic, ...operands)
        return
      case 'word':
        asm.word(step.word)
        return
      case 'skip': {
        const over = asm.label()
        this.#branch(over, step.branch, sizeOf(step.steps))
        this.#steps(step.steps)
        asm.bind(over)
        return
      }
      case 'loop': {
        asm.emit('addi', step.counter, 0, step.times)
        const start = asm.here()
        this.#steps(step.steps)
        asm.emit('addi', step.counter, step.counter, -1)
        this.#branch(start, { mnemonic: 'bne', operands: [step.counter, 0] }, sizeOf(step.steps))
        return
      }
      case 'sometimes': {
        const over = asm.label()
        this.#decide()
        asm.emit('andi', scratch, scratch, (1 << step.bits) - 1)
        this.#branch(over, { mnemonic: 'bne', operands: [scratch, 0] }, sizeOf(step.steps))
        this.#steps(step.steps)
        asm.bind(over)
        return
      }
      case 'choice':
        this.#choice(step.cases)
        return
      case 'invoke': {
        const { link } = this.#program.functions[step.callee]!
        this.#call(step.callee, link, step.how)
        this.#landing()
        return
      }
      case 'recurse': {
        // Not from inside another recursion: the depth is the stack's.
        const over = asm.label()
        asm.emitTo(over, 'bne', REGISTER.recursion, 0)
        asm.li(REGISTER.recursion, step.depth)
        asm.emitTo(this.#functions[step.callee]!, 'jal', REGISTER.return)
        this.#landing()
        asm.emit('addi', REGISTER.recursion, 0, 0)
        asm.bind(over)
        return
      }
      case 'far':
        asm.li(value, this.#program.functions[step.callee]!.offset)
        asm.li(scratch, SERVICE.call | (step.alias << ALIAS_SHIFT))
        asm.emit('ecall')
        this.#landing()
        return
      case 'point':
        asm.bind(this.#points.get(step.point)!)
        asm.word(step.words[this.#variant])
        return
      case 'patch':
        this.#patch(step)
        return
      case 'catch':
        this.#catch(step.steps)
        return
      case 'throw':
        this.#throw()
        return
      case 'service':
        if (step.value === null) {
          this.#decide()
          asm.emit('addi', value, scratch, 0)
        } else asm.li(value, step.value)
        asm.li(scratch, step.service)
        asm.emit('ecall')
        return
      case 'edit':
        this.#edit(step.edit)
        return
      case 'swap':
        this.#swap(step)
        return
      case 'space':
        asm.li(value, satp(this.#region, step.space))
        asm.emit('csrrw', 0, CSR.satp, value)
        return
      case 'window':
        this.#window(step)
        return
    }
  }

  #call(callee: number, link: number, how: (Step & { kind: 'invoke' })['how']): void {
    const asm = this.#asm
    const target = this.#functions[callee]!
    if (how === 'direct') {
      asm.emitTo(target, 'jal', link)
      return
    }
    asm.loadAddress(REGISTER.scratch, target)
    if (how === 'sibling') asm.emit('xor', REGISTER.scratch, REGISTER.scratch, REGISTER.sibling)
    asm.emit('jalr', link, REGISTER.scratch, 0)
  }

  /** Where calls come back, either to the first or to the second instruction. */
  #landing(): void {
    this.#asm.emit('xori', REGISTER.hash, REGISTER.hash, 0x55)
    this.#asm.emit('rori', REGISTER.hash, REGISTER.hash, 3)
  }

  /** A jump through a table of offsets from the span, which lies behind the function. */
  #choice(cases: readonly (readonly Step[])[]): void {
    const asm = this.#asm
    const { scratch, value, span } = REGISTER
    const table = asm.label()
    const end = asm.label()
    const labels = cases.map(() => asm.label())
    this.#decide()
    asm.emit('andi', scratch, scratch, TABLE_ENTRIES - 1)
    asm.loadAddress(value, table)
    asm.emit('sh2add', scratch, scratch, value)
    asm.emit('lw', scratch, scratch, 0)
    asm.emit('add', scratch, scratch, span)
    asm.emit('jalr', 0, scratch, 0)
    cases.forEach((steps, n) => {
      asm.bind(labels[n]!)
      this.#steps(steps)
      asm.emitTo(end, 'jal', 0)
    })
    asm.bind(end)
    this.#tables.push({ table, cases: labels.length === 0 ? [end] : labels })
  }

  #emitTables(): void {
    const asm = this.#asm
    for (const { table, cases } of this.#tables.splice(0)) {
      asm.align(4)
      asm.bind(table)
      for (let n = 0; n < TABLE_ENTRIES; n++) asm.word(asm.addressOf(cases[n % cases.length]!))
    }
  }

  #patch(step: Step & { kind: 'patch' }): void {
    const asm = this.#asm
    const label = this.#points.get(step.point)
    if (label === undefined) return
    const { scratch, value, word } = REGISTER
    if (step.varies) {
      this.#decide()
      asm.emit('slli', value, scratch, 20)
      asm.li(word, step.word & 0xf_ffff)
      asm.emit('add', value, value, word)
    } else asm.li(value, step.word | 0)
    asm.loadAddress(scratch, label)
    asm.emit('sw', value, scratch, 0)
    if (step.fenced) asm.emit('fence.i')
  }

  #catch(steps: readonly Step[]): void {
    const asm = this.#asm
    const { base, scratch, span, stack } = REGISTER
    const caught = asm.label()
    asm.emit('addi', stack, stack, -CATCH_FRAME_BYTES)
    for (let n = 0; n < CATCH_FIELDS; n++) {
      asm.emit('ld', scratch, base, CATCH_OFFSET + 8 * n)
      asm.emit('sd', scratch, stack, 8 * n)
    }
    for (const [n, x] of LIFTED.entries()) asm.emit('sd', x, stack, 8 * (CATCH_FIELDS + n))
    asm.emit('addi', scratch, 0, 1)
    asm.emit('sd', scratch, base, CATCH_OFFSET)
    asm.loadAddress(scratch, caught)
    asm.emit('sub', scratch, scratch, span)
    asm.emit('sd', scratch, base, CATCH_OFFSET + 8)
    asm.emit('sub', scratch, stack, span)
    asm.emit('sd', scratch, base, CATCH_OFFSET + 16)
    this.#steps(steps)
    asm.bind(caught)
    for (let n = 0; n < CATCH_FIELDS; n++) {
      asm.emit('ld', scratch, stack, 8 * n)
      asm.emit('sd', scratch, base, CATCH_OFFSET + 8 * n)
    }
    for (const [n, x] of LIFTED.entries()) asm.emit('ld', x, stack, 8 * (CATCH_FIELDS + n))
    asm.emit('addi', stack, stack, CATCH_FRAME_BYTES)
  }

  #throw(): void {
    const asm = this.#asm
    const { base, scratch, span, stack } = REGISTER
    const over = asm.label()
    asm.emit('ld', scratch, base, CATCH_OFFSET)
    asm.emitTo(over, 'beq', scratch, 0)
    asm.emit('ld', stack, base, CATCH_OFFSET + 16)
    asm.emit('add', stack, stack, span)
    asm.emit('ld', scratch, base, CATCH_OFFSET + 8)
    asm.emit('add', scratch, scratch, span)
    asm.emit('jalr', 0, scratch, 0)
    asm.bind(over)
  }

  #edit({ entry, value, address, fence, space }: Edit): void {
    const asm = this.#asm
    asm.li(REGISTER.scratch, entry)
    asm.li(REGISTER.value, value)
    asm.emit('sd', REGISTER.value, REGISTER.scratch, 0)
    if (fence === FENCE.none) return
    const byAddress = fence === FENCE.address || fence === FENCE.addressInSpace
    const bySpace = fence === FENCE.space || fence === FENCE.addressInSpace
    asm.li(REGISTER.scratch, byAddress ? address : 0)
    asm.li(REGISTER.value, bySpace ? space : 0)
    asm.emit('sfence.vma', byAddress ? REGISTER.scratch : 0, bySpace ? REGISTER.value : 0)
  }

  #swap({ entry, difference, fencedPage }: Step & { kind: 'swap' }): void {
    const asm = this.#asm
    const { scratch, value, word, span } = REGISTER
    asm.li(scratch, entry)
    asm.li(word, difference)
    asm.emit('ld', value, scratch, 0)
    asm.emit('xor', value, value, word)
    asm.emit('sd', value, scratch, 0)
    if (fencedPage === null) return
    asm.emit('lui', value, fencedPage)
    asm.emit('add', value, value, span)
    asm.emit('sfence.vma', value, 0)
  }

  #window({ place, accesses, asBefore, between }: Step & { kind: 'window' }): void {
    const asm = this.#asm
    const { scratch, value, word } = REGISTER
    this.#address(scratch, place)
    if (asBefore) {
      asm.li(value, STATUS.mprv)
      asm.emit('csrrs', 0, CSR.mstatus, value)
    }
    accesses.forEach((access, n) => {
      if (n === 1 && between !== null) {
        this.#address(word, between)
        asm.emit('ld', word, word, 0)
      }
      this.#access(access)
    })
    if (asBefore) asm.emit('csrrc', 0, CSR.mstatus, value)
  }

  #address(register: number, { offset, alias }: Place): void {
    const asm = this.#asm
    if (alias === null) {
      asm.li(register, offset)
      asm.emit('add', register, register, REGISTER.span)
    } else asm.li(register, ALIASES[alias]!.base(this.#region) + BigInt(offset))
  }

  #access({ mnemonic, register, distance }: Access): void {
    const { scratch, random, hash } = REGISTER
    const rest = formOf(mnemonic).fields.slice(1)
    const operands = rest.map((field) => {
      if (field === 'rs1') return scratch
      if (field === 'rs2') return random
      return field === 'aqrl' ? 0 : distance
    })
    this.#asm.emit(mnemonic, register, ...operands)
    if (mnemonic.startsWith('l') && register !== 0) this.#asm.emit('xor', hash, hash, register)
  }

  #branch(target: Label, { mnemonic, operands }: Instruction, distanceBytes: number): void {
    const asm = this.#asm
    if (mnemonic === 'jal' || distanceBytes < BRANCH_REACH_BYTES) {
      asm.emitTo(target, mnemonic, ...operands)
      return
    }
    const taken = asm.label()
    const onwards = asm.label()
    asm.emitTo(taken, mnemonic, ...operands)
    asm.emitTo(onwards, 'jal', 0)
    asm.bind(taken)
    asm.emitTo(target, 'jal', 0)
    asm.bind(onwards)
  }
}

const TABLE_ENTRIES = 8
