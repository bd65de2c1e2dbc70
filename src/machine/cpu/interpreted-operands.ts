/** The interpreter's side of each instruction's meaning: operands are fields of the word just fetched. */
import { type Expr, f32, f64, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import { CAUSE, FAULT, raise, readControl, readField, writeControl, writeField, ZERO } from './access.ts'
import { BLOCK_ENABLE, isBlockRefused, zeroBlock } from './cache-block.ts'
import type { CoreFunctions } from './core-functions.ts'
import { F32, F64, type Format, NX, trustedExponentCount } from './fp/format.ts'
import { immediateField, registerField } from './instruction-fields.ts'
import { control, EXIT, fastTlb, PAGE_BYTES, RAM_START } from './layout.ts'
import { LOADS, STORES } from './memory-access.ts'
import type {
  CsrKind,
  FloatOperand,
  FloatSource,
  ImmediateFormat,
  Instruction,
  LoadKind,
  Operands,
  StoreWidth,
  SystemKind,
} from './semantics.ts'
import { isFloatStore, SOURCE_FIELD } from './semantics.ts'
import { fAddress, xAddress } from './state.ts'
import { STATUS } from './status.ts'
import { tlbOffset } from './tlb.ts'
import { refused, returnFromMachine } from './traps.ts'

export interface InterpreterOptions {
  /** Whether the machine itself serves environment calls from S-mode (SBI). */
  readonly servesSbi: boolean
  /** Type index of compiled regions. */
  readonly regionType: number
  /** Visits to an entry point after which it is compiled. */
  readonly hotThreshold: number
}

export interface Locals {
  readonly pc: Local
  /** What is left after this instruction took its unit. */
  readonly budget: { readonly get: Expr }
  /** The instruction, compressed ones expanded. */
  readonly word: Local
  /** What was fetched: 16 bits of a compressed one. */
  readonly raw: Local
  readonly nextPc: Local
  /** Offset of the current mode's TLBs. */
  readonly modeOffset: Local
  /** Set when an instruction took a slow path: attention may have been asked for. */
  readonly recheck: Local
}

export interface Labels {
  readonly next: Label
  readonly transfer: Label
  readonly trapped: Label
  readonly checked: Label
  readonly done: Label
}

export function emitInstruction(
  f: FunctionBuilder,
  core: CoreFunctions,
  options: InterpreterOptions,
  l: Locals,
  labels: Labels,
  instruction: Instruction,
): void {
  const operands = new InterpretedOperands(f, core, options, l, labels, instruction.immediate)
  if (instruction.uses.includes('float')) operands.requireFloat(!isFloatStore(instruction))
  if (instruction.uses.includes('rounding')) operands.requireRounding()
  instruction.meaning(operands)
}

/** Operands taken at run time from the fields of the instruction word, registers kept in memory. */
class InterpretedOperands implements Operands {
  readonly f: FunctionBuilder
  readonly library: CoreFunctions
  readonly #options: InterpreterOptions
  readonly #l: Locals
  readonly #labels: Labels
  readonly #immediate: Local | null

  constructor(
    f: FunctionBuilder,
    core: CoreFunctions,
    options: InterpreterOptions,
    l: Locals,
    labels: Labels,
    format: ImmediateFormat,
  ) {
    this.f = f
    this.library = core
    this.#options = options
    this.#l = l
    this.#labels = labels
    this.#immediate = format === 'none' ? null : f.keep(i64.extendS(immediateField(l.word.get, format)))
  }

  rs1(): Expr {
    return i64.load(registerField(this.#l.word.get, 'rs1'), xAddress(0))
  }

  rs2(): Expr {
    return i64.load(registerField(this.#l.word.get, 'rs2'), xAddress(0))
  }

  setRd(value: Expr): void {
    this.f.store('i64', registerField(this.#l.word.get, 'rd'), value, xAddress(0))
  }

  imm(): Expr {
    if (this.#immediate === null) throw new Error('this format has no immediate')
    return this.#immediate.get
  }

  pc(): Expr {
    return this.#l.pc.get
  }

  nextPc(): Expr {
    return this.#l.nextPc.get
  }

  float(of: Format, source: FloatSource): FloatOperand {
    const register = registerField(this.#l.word.get, SOURCE_FIELD[source])
    return {
      raw: i64.load(register, fAddress(0)),
      value: (of === F64 ? f64 : f32).load(register, fAddress(0)),
      isBoxed: of === F64 ? i32.const(1) : i32.eq(i32.load(register, fAddress(0) + 4), i32.const(-1)),
    }
  }

  setFloat(of: Format, value: Expr): void {
    const register = registerField(this.#l.word.get, 'rd')
    this.f.store(of.name, register, value, fAddress(0))
    if (of === F32) this.f.store('i32', register, i32.const(-1), fAddress(0) + 4)
  }

  /** mstatus.FS must not be Off. `changes`: the instruction may write a register or flag of the unit, whose state then counts as dirty. */
  requireFloat(changes: boolean): void {
    this.f.if(
      i64.eqz(i64.and(readField('mstatus'), i64.const(STATUS.fs))),
      () => this.#illegal(),
      undefined,
      'unlikely',
    )
    if (changes) writeField(this.f, 'mstatus', i64.or(readField('mstatus'), i64.const(STATUS.fs)))
  }

  requireRounding(): void {
    this.f.if(i32.gtU(this.rounding(), i32.const(4)), () => this.#illegal(), undefined, 'unlikely')
  }

  rounding(): Expr {
    const mode = i32.and(i32.shrU(this.#l.word.get, i32.const(12)), i32.const(7))
    return select(i32.eq(mode, i32.const(7)), i32.wrap(i64.shrU(readField('fcsr'), i64.const(5))), mode)
  }

  trustedExponents(of: Format): Expr {
    const inexact = i32.and(i32.wrap(readField('fcsr')), i32.const(NX))
    const isFast = i32.and(i32.eqz(this.rounding()), inexact)
    return select(isFast, i32.const(trustedExponentCount(of)), ZERO)
  }

  exactly(body: () => void): void {
    body()
  }

  load(kind: LoadKind, addressValue: Expr): Expr {
    const { f } = this
    const access = LOADS[kind]
    const address = f.keep(addressValue)
    const value = f.temp(access.type)
    const entry = f.keep(
      i32.add(i32.add(tlbOffset(address.get), this.#l.modeOffset.get), i32.const(fastTlb(0, 'read'))),
    )
    f.if(
      i64.eq(i64.load(entry.get), i64.and(address.get, i64.const(-PAGE_BYTES | (access.bytes - 1)))),
      () => f.set(value, access.load(i32.add(i32.wrap(address.get), i32.load(entry.get, 8)))),
      () => {
        const bits = f.keep(this.library.call('loadSlow', address.get, i32.const(access.bytes)))
        this.#afterSlow(() => f.set(bits, this.#deviceRead(access.bytes)))
        f.set(value, access.extend(bits.get))
      },
      'likely',
    )
    return value.get
  }

  store(width: StoreWidth, addressValue: Expr, stored: Expr): void {
    const { f } = this
    const access = STORES[width]
    const address = f.keep(addressValue)
    const value = f.keep(stored)
    const entry = f.keep(
      i32.add(i32.add(tlbOffset(address.get), this.#l.modeOffset.get), i32.const(fastTlb(0, 'write'))),
    )
    f.if(
      i64.eq(i64.load(entry.get), i64.and(address.get, i64.const(-PAGE_BYTES | (access.bytes - 1)))),
      () => f.store(access.kind, i32.add(i32.wrap(address.get), i32.load(entry.get, 8)), value.get),
      () => {
        const bits = f.keep(access.toBits(value.get))
        this.library.do(f, 'storeSlow', address.get, i32.const(access.bytes), bits.get)
        this.#afterSlow(() => this.#deviceWrite(access.bytes, bits.get))
      },
      'likely',
    )
  }

  atomic(width: 32 | 64, address: Expr, change: (old: Expr) => Expr): Expr {
    const { f } = this
    const at = this.#atomicAddress(width, address, 1)
    const old = f.keep(width === 32 ? i64.load32S(at.get) : i64.load(at.get))
    f.store(width === 32 ? 'i64_32' : 'i64', at.get, change(old.get))
    this.#wroteRam(at, width)
    return old.get
  }

  loadReserved(width: 32 | 64, address: Expr): Expr {
    const { f } = this
    const at = this.#atomicAddress(width, address, 0)
    writeField(f, 'reservation', this.#physical(at))
    return f.keep(width === 32 ? i64.load32S(at.get) : i64.load(at.get)).get
  }

  storeConditional(width: 32 | 64, address: Expr, stored: Expr): Expr {
    const { f } = this
    const value = f.keep(stored)
    const at = this.#atomicAddress(width, address, 1)
    const failed = f.keep(i64.extendU(i64.ne(readField('reservation'), this.#physical(at))))
    f.if(i64.eqz(failed.get), () => {
      f.store(width === 32 ? 'i64_32' : 'i64', at.get, value.get)
      this.#wroteRam(at, width)
    })
    writeField(f, 'reservation', i64.const(-1))
    return failed.get
  }

  zeroBlock(addressValue: Expr): void {
    const { f } = this
    f.if(isBlockRefused(BLOCK_ENABLE.zero), () => this.#illegal(), undefined, 'unlikely')
    const address = f.keep(addressValue)
    const entry = f.keep(
      i32.add(i32.add(tlbOffset(address.get), this.#l.modeOffset.get), i32.const(fastTlb(0, 'write'))),
    )
    f.if(
      i64.eq(i64.load(entry.get), i64.and(address.get, i64.const(-PAGE_BYTES))),
      () => zeroBlock(f, i32.add(i32.wrap(address.get), i32.load(entry.get, 8))),
      () => {
        this.library.do(f, 'zeroSlow', address.get)
        this.#afterSlow(() => undefined)
      },
      'likely',
    )
  }

  jump(target: Expr): void {
    this.f.set(this.#l.pc, target)
    this.f.br(this.#labels.transfer)
  }

  branch(condition: Expr): void {
    const { f } = this
    f.if(condition, () => {
      f.set(this.#l.pc, i64.add(this.#l.pc.get, this.imm()))
      // Loop heads may be compiled; targets ahead are reached through the region they belong to.
      f.brIf(this.#labels.transfer, i64.ltS(this.imm(), i64.const(0)))
      f.br(this.#labels.next)
    })
  }

  system(kind: SystemKind): void {
    const { f } = this
    switch (kind) {
      case 'ecall':
        this.#ecall()
        return
      case 'ebreak':
        raise(f, i64.const(CAUSE.breakpoint), this.pc())
        f.br(this.#labels.trapped)
        return
      case 'wfi':
        // From U-mode it is refused; from S-mode only under TW.
        f.if(refused(1, STATUS.tw), () => this.#illegal())
        writeField(f, 'waiting', i64.const(1))
        writeControl(f, 'attention', i32.const(1))
        this.#finish()
        return
      case 'sfence.vma':
        f.if(refused(1, STATUS.tvm), () => this.#illegal())
        this.library.do(f, 'fence', this.rs1(), i32.ne(i32.and(this.#l.word.get, i32.const(0xf8000)), ZERO))
        this.#finish()
        return
      case 'sret':
        f.if(refused(1, STATUS.tsr), () => this.#illegal())
        f.set(this.#l.pc, this.library.call('returnFromSupervisor', this.#l.budget.get))
        f.br(this.#labels.checked)
        return
      case 'mret':
        f.if(i64.ne(readField('privilege'), i64.const(3)), () => this.#illegal())
        returnFromMachine(f, this.library)
        f.set(this.#l.pc, readField('mepc'))
        writeControl(f, 'attention', i32.const(1))
        f.br(this.#labels.checked)
        return
      case 'cbo.inval':
        this.#manageBlock(BLOCK_ENABLE.invalidate)
        return
      case 'cbo.clean':
      case 'cbo.flush':
        this.#manageBlock(BLOCK_ENABLE.cleanOrFlush)
        return
      default:
        this.#csr(kind)
        this.#finish()
    }
  }

  #ecall(): void {
    const { f } = this
    const privilege = readField('privilege')
    if (this.#options.servesSbi) {
      f.if(i64.eq(privilege, i64.const(1)), () => {
        writeControl(f, 'exit', i32.const(EXIT.ecall))
        writeControl(f, 'attention', i32.const(1))
        this.#finish()
      })
    }
    raise(f, i64.add(privilege, i64.const(CAUSE.ecallFromUser)), i64.const(0))
    f.br(this.#labels.trapped)
  }

  #csr(kind: CsrKind): void {
    const { f } = this
    const number = f.keep(i32.shrU(this.#l.word.get, i32.const(20)))
    const operand = f.keep(kind.endsWith('i') ? this.imm() : this.rs1())
    const always = kind.startsWith('csrrw')
    const willWrite = f.keep(
      always ? i32.const(1) : i32.ne(i32.and(this.#l.word.get, i32.const(0xf8000)), ZERO),
    )
    const old = f.keep(this.library.call('readCsr', number.get, willWrite.get, this.#l.budget.get))
    f.if(readControl('fault'), () => this.#illegal(), undefined, 'unlikely')
    const read = f.keep(old.get)
    f.if(willWrite.get, () => {
      if (!always) f.set(old, this.library.call('modifiable', number.get, old.get))
      const next = always
        ? operand.get
        : kind.startsWith('csrrs')
          ? i64.or(old.get, operand.get)
          : i64.and(old.get, i64.xor(operand.get, i64.const(-1)))
      this.library.do(f, 'writeCsr', number.get, next, this.#l.budget.get)
    })
    this.setRd(read.get)
  }

  #manageBlock(enable: number): void {
    const { f } = this
    f.if(isBlockRefused(enable), () => this.#illegal())
    this.library.do(f, 'checkBlock', this.rs1())
    f.brIf(this.#labels.trapped, readControl('fault'))
    this.#finish()
  }

  /** Ends a system instruction: everything the loop caches may be stale. */
  #finish(): void {
    this.f.set(this.#l.pc, this.#l.nextPc.get)
    this.f.br(this.#labels.checked)
  }

  #illegal(): void {
    raise(this.f, i64.const(CAUSE.illegalInstruction), i64.extendU(this.#l.raw.get))
    this.f.br(this.#labels.trapped)
  }

  #afterSlow(device: () => void): void {
    const { f } = this
    f.set(this.#l.recheck, i32.const(1))
    f.if(
      readControl('fault'),
      () => {
        f.brIf(this.#labels.trapped, i32.eq(readControl('fault'), i32.const(FAULT.trap)))
        writeControl(f, 'budgetNow', this.#l.budget.get)
        device()
        f.brIf(this.#labels.trapped, i32.eq(readControl('fault'), i32.const(FAULT.trap)))
      },
      undefined,
      'unlikely',
    )
  }

  #deviceRead(bytes: number): Expr {
    const { f } = this
    const address = i32.wrap(i64.load(ZERO, control.ioAddress))
    return f.keep(this.library.callImport('i64', 'deviceRead', address, i32.const(bytes))).get
  }

  #deviceWrite(bytes: number, value: Expr): void {
    const address = i32.wrap(i64.load(ZERO, control.ioAddress))
    this.f.call(this.library.functionIndex('deviceWrite'), address, i32.const(bytes), value)
  }

  #atomicAddress(width: 32 | 64, address: Expr, isStore: 0 | 1): Local {
    const { f } = this
    const at = f.keep(this.library.call('atomicAddress', address, i32.const(width / 8), i32.const(isStore)))
    f.if(i32.eqz(at.get), () => f.br(this.#labels.trapped), undefined, 'unlikely')
    return at
  }

  #wroteRam(at: Local, width: 32 | 64): void {
    this.library.do(this.f, 'wroteRam', at.get, i32.const(width / 8))
    this.f.set(this.#l.recheck, i32.const(1))
  }

  #physical(at: Local): Expr {
    return i64.extendU(i32.add(at.get, i32.const((RAM_START - this.library.layout.ram) | 0)))
  }
}
