/**
 * Scenarios: short bare-metal stories about traps, privilege, translation and interrupts. Code and expectation are
 * written side by side: each step emits instructions and says what must appear in the log that the trap handlers
 * keep. The log is all that is compared.
 *
 * Conventions of the code: x26 points at the end of the log, x27 says where to go on after an exception, x17 asks
 * for M-mode by an environment call, x24 counts the passes, and the handlers use x28-x31.
 */
import { Assembler, type Label } from './assembler.ts'
import { writeElf } from './elf.ts'
import { type Environment, emitExit } from './exit.ts'
import { CSR, MACHINE, type Privilege, PTE, STATUS, SUPERVISOR } from './privileged.ts'
import {
  CALL_REGISTER,
  emitMachineHandler,
  emitSupervisorHandler,
  FROM_MACHINE_HANDLER,
  FROM_SUPERVISOR_HANDLER,
  LOG_POINTER,
  RESUME,
  TO_MACHINE,
} from './scenario-handlers.ts'
import { LAYOUT, NOWHERE, USER_ALIAS_OFFSET, WINDOW } from './scenario-layout.ts'

/**
 * The whole story is told several times: regions are compiled after a first visit, so from the second pass on
 * compiled code runs. Each pass starts from the same tables, pages and CSRs and must log the same.
 */
const PASSES = 3

const LOG_BYTES = 16 * 1024
const CODE_BYTES_MAX = LAYOUT.rootTable - LAYOUT.code
const PASS = 24

export interface ExpectedTrap {
  readonly cause: number
  /** Where it is taken from; M by default. */
  readonly from?: Privilege
  /** mtval or stval; by default not checked where the manual leaves a choice, else 0. */
  readonly value?: bigint | number
  /** Taken in S-mode because it is delegated. */
  readonly delegated?: boolean
  /** The program counter when it is not the trapping instruction's own address. */
  readonly pc?: Label | bigint
  /** Bytes of the instructions before the trapping one. */
  readonly pcOffset?: number
}

export interface Scenario {
  readonly name: string
  build(story: Story): void
  /** Why QEMU, allowed by the manual, does otherwise; such scenarios are not compared with it. */
  readonly notInQemu?: string
}

type Expected = () => bigint

export interface ScenarioImage {
  readonly elf: Uint8Array
  readonly log: number
  readonly logBytes: number
  /** The words the log must hold, with what each stands for. */
  readonly expected: readonly { readonly what: string; readonly value: bigint }[]
}

export class Story {
  readonly asm = new Assembler(LAYOUT.code)
  readonly #expected: { what: string; value: Expected }[] = []
  readonly #tables = new Map<number, bigint>()
  /** Virtual minus physical address of the code now running, for expected program counters. */
  #alias = 0n

  constructor() {
    const { asm } = this
    const start = asm.label('start')
    asm.emitTo(start, 'jal', 0)
    this.#machineHandler = emitMachineHandler(asm)
    this.#supervisorHandler = emitSupervisorHandler(asm)
    asm.align(4)
    asm.bind(start)
    asm.li(LOG_POINTER, LAYOUT.log)
    asm.li(PASS, PASSES)
    asm.bind(this.#passStart)
    this.#restoreMemory()
    this.#resetCsrs()
  }

  readonly #passStart = this.asm.label('pass')
  readonly #machineHandler: number
  readonly #supervisorHandler: number

  /** Only what differs is written, so that code in these pages stays compiled from pass to pass. */
  #restoreMemory(): void {
    const { asm } = this
    asm.li(5, LAYOUT.rootTable)
    asm.li(6, LAYOUT.pristine)
    asm.li(7, LAYOUT.log)
    const loop = asm.here()
    const same = asm.label()
    asm.emit('ld', 8, 5, 0)
    asm.emit('ld', 9, 6, 0)
    asm.emitTo(same, 'beq', 8, 9)
    asm.emit('sd', 9, 5, 0)
    asm.bind(same)
    asm.emit('addi', 5, 5, 8)
    asm.emit('addi', 6, 6, 8)
    asm.emitTo(loop, 'bltu', 5, 7)
  }

  #resetCsrs(): void {
    const { asm } = this
    for (const csr of [CSR.mie, CSR.mip, CSR.mideleg, CSR.medeleg, CSR.satp]) asm.emit('csrrw', 0, csr, 0)
    asm.emit('sfence.vma', 0, 0)
    // Everything but FS, under which fcsr is cleared.
    this.setCsr(CSR.mstatus, STATUS.fs)
    asm.emit('csrrwi', 0, CSR.fcsr, 0)
    asm.emit('csrrw', 0, CSR.mstatus, 0)
    this.setCsr(CSR.mtvec, this.#machineHandler)
    this.setCsr(CSR.stvec, this.#supervisorHandler)
    // Allow S and U everything: QEMU denies all without a physical memory protection entry; we have none and ignore it.
    this.setCsr(CSR.pmpaddr0, -1)
    this.setCsr(CSR.pmpcfg0, 0x1f)
  }

  /** Appends a register to the log and expects a value there. */
  log(what: string, register: number, expected: bigint | number): void {
    this.#append(register)
    this.#expected.push({ what, value: () => BigInt.asUintN(64, BigInt(expected)) })
  }

  logAddress(what: string, register: number, expected: Label): void {
    this.#append(register)
    const alias = this.#alias
    this.#expected.push({ what, value: () => BigInt(this.asm.addressOf(expected)) + alias })
  }

  #append(register: number): void {
    this.asm.emit('sd', register, LOG_POINTER, 0)
    this.asm.emit('addi', LOG_POINTER, LOG_POINTER, 8)
  }

  /** Reads a CSR, keeps the bits of `mask`, and logs them. Uses x5. */
  logCsr(what: string, csr: number, expected: bigint | number, mask?: bigint): void {
    this.asm.emit('csrrs', 5, csr, 0)
    if (mask !== undefined) {
      this.asm.li(6, mask)
      this.asm.emit('and', 5, 5, 6)
    }
    this.log(what, 5, expected)
  }

  /** Writes a CSR through x5. */
  setCsr(csr: number, value: bigint | number): void {
    this.asm.li(5, value)
    this.asm.emit('csrrw', 0, csr, 5)
  }

  setBits(csr: number, bits: bigint | number): void {
    this.asm.li(5, bits)
    this.asm.emit('csrrs', 0, csr, 5)
  }

  clearBits(csr: number, bits: bigint | number): void {
    this.asm.li(5, bits)
    this.asm.emit('csrrc', 0, csr, 5)
  }

  /** Emits something whose first instruction must trap, and goes on behind it. */
  trap(what: string, emit: () => void, expected: ExpectedTrap): void {
    const { asm } = this
    const next = asm.label()
    asm.loadAddress(RESUME, next)
    const at = asm.here()
    emit()
    asm.bind(next)
    this.expectTrap(what, { ...expected, pc: expected.pc ?? at })
  }

  /** Expects an exception at this point of the log; the code has been or will be emitted by the scenario. */
  expectTrap(
    what: string,
    { cause, from = MACHINE, value = 0, delegated = false, pc = 0n, pcOffset = 0 }: ExpectedTrap,
  ): void {
    const alias = this.#alias
    const address = () => (typeof pc === 'bigint' ? pc : BigInt(this.asm.addressOf(pc) + pcOffset) + alias)
    this.#expectRecord(what, delegated, BigInt(cause), address, BigInt.asUintN(64, BigInt(value)), from)
  }

  /**
   * Expects an interrupt taken at `pc`. The handlers mask it in mie (or sie) and return. `enabled`: xIE was set
   * before, which shows in xPIE; it always is unless the interrupt came from a less privileged mode.
   */
  expectInterrupt(
    what: string,
    interrupt: number,
    from: Privilege,
    pc: Label,
    options: { delegated?: boolean; enabled?: boolean } = {},
  ): void {
    const alias = this.#alias
    const { delegated = false, enabled = true } = options
    const cause = (1n << 63n) | BigInt(interrupt)
    this.#expectRecord(
      what,
      delegated,
      cause,
      () => BigInt(this.asm.addressOf(pc)) + alias,
      0n,
      from,
      enabled,
    )
  }

  #expectRecord(
    what: string,
    delegated: boolean,
    cause: bigint,
    pc: Expected,
    value: bigint,
    from: Privilege,
    enabled = false,
  ): void {
    const status = delegated
      ? (from === SUPERVISOR ? STATUS.spp : 0n) | (enabled ? STATUS.spie : 0n)
      : (BigInt(from) << 11n) | (enabled ? STATUS.mpie : 0n)
    const push = (field: string, expected: Expected) =>
      this.#expected.push({ what: `${what}: ${field}`, value: expected })
    push('handler', () => BigInt(delegated ? FROM_SUPERVISOR_HANDLER : FROM_MACHINE_HANDLER))
    push('cause', () => cause)
    push('pc', pc)
    push('value', () => value)
    push('status', () => status)
  }

  /** Leaves for a lower privilege; goes on at the next instruction, in U-mode at its alias when translation is on. */
  enter(privilege: Privilege, options: { readonly aliased?: boolean } = {}): void {
    const { asm } = this
    const next = asm.label()
    asm.loadAddress(5, next)
    if (options.aliased) {
      asm.li(6, USER_ALIAS_OFFSET)
      asm.emit('sub', 5, 5, 6)
    }
    asm.emit('csrrw', 0, CSR.mepc, 5)
    // MRET moves MPIE to MIE: left set by an earlier return, it would let interrupts in.
    this.clearBits(CSR.mstatus, STATUS.mpp | STATUS.mpie)
    this.setBits(CSR.mstatus, BigInt(privilege) << 11n)
    asm.emit('mret')
    asm.bind(next)
    this.#alias = options.aliased ? -BigInt(USER_ALIAS_OFFSET) : 0n
  }

  /** Back to M-mode from any privilege, by an environment call that is not logged. */
  toMachine(): void {
    const { asm } = this
    const next = asm.label()
    asm.li(CALL_REGISTER, TO_MACHINE)
    asm.loadAddress(RESUME, next)
    if (this.#alias !== 0n) {
      asm.li(5, USER_ALIAS_OFFSET)
      asm.emit('add', RESUME, RESUME, 5)
    }
    asm.emit('ecall')
    asm.bind(next)
    this.#alias = 0n
  }

  /** The same when calls from U-mode are delegated: by an access to an address where nothing is, which never is. */
  toMachineFromUser(): void {
    const { asm } = this
    const next = asm.label()
    asm.li(CALL_REGISTER, TO_MACHINE)
    asm.loadAddress(RESUME, next)
    asm.li(5, NOWHERE)
    asm.emit('lb', 5, 5, 0)
    asm.bind(next)
  }

  /** Writes page table entry `index` of the table at `table` into the image. */
  entry(table: number, index: number, physical: number, flags: number): void {
    this.#tables.set(table + 8 * index, ((BigInt(physical) >> 12n) << 10n) | BigInt(flags))
  }

  /**
   * The usual tables: RAM at its own address for S-mode, once more at the user alias for U-mode, both as gigapages
   * with A and D set, and the leaf table's window at WINDOW. The tables are in the image; this turns nothing on.
   */
  usualTables(): void {
    const all = PTE.v | PTE.r | PTE.w | PTE.x | PTE.a | PTE.d
    this.entry(LAYOUT.rootTable, 2, 0x8000_0000, all)
    this.entry(LAYOUT.rootTable, 1, 0x8000_0000, all | PTE.u)
    this.entry(LAYOUT.rootTable, 0, LAYOUT.middleTable, PTE.v)
    this.entry(LAYOUT.middleTable, WINDOW / 0x20_0000, LAYOUT.leafTable, PTE.v)
  }

  /** The usual tables for S-mode, but with no superpage anywhere. */
  smallTables(): void {
    const all = PTE.v | PTE.r | PTE.w | PTE.x | PTE.a | PTE.d
    this.entry(LAYOUT.rootTable, 2, LAYOUT.ramMiddleTable, PTE.v)
    this.entry(LAYOUT.ramMiddleTable, 0, LAYOUT.ramLeafTable, PTE.v)
    for (let n = 0; n < 512; n++) this.entry(LAYOUT.ramLeafTable, n, LAYOUT.code + 4096 * n, all)
    this.entry(LAYOUT.rootTable, 0, LAYOUT.middleTable, PTE.v)
    this.entry(LAYOUT.middleTable, WINDOW / 0x20_0000, LAYOUT.leafTable, PTE.v)
  }

  image(environment: Environment): ScenarioImage {
    const { asm } = this
    const results = asm.label('log')
    const tohost = asm.label('tohost')
    asm.emit('addi', PASS, PASS, -1)
    asm.loadAddress(5, this.#passStart)
    const done = asm.label()
    asm.emitTo(done, 'beq', PASS, 0)
    asm.emit('jalr', 0, 5, 0)
    asm.bind(done)
    emitExit(asm, environment, { results, resultsBytes: LOG_BYTES, tohost })
    if (asm.address - LAYOUT.code > CODE_BYTES_MAX)
      throw new RangeError('the scenario does not fit its code area')
    for (const [address, entry] of [...this.#tables].sort(([a], [b]) => a - b)) {
      asm.advanceTo(address)
      asm.double(entry)
    }
    asm.advanceTo(LAYOUT.log)
    asm.bind(results)
    asm.advanceTo(LAYOUT.tohost)
    asm.bind(tohost)
    asm.double(0n)
    for (const [address, entry] of [...this.#tables].sort(([a], [b]) => a - b)) {
      asm.advanceTo(LAYOUT.pristine + address - LAYOUT.rootTable)
      asm.double(entry)
    }
    asm.advanceTo(LAYOUT.pristine + LAYOUT.log - LAYOUT.rootTable)
    const elf = writeElf({ base: LAYOUT.code, bytes: asm.finish(), symbols: { tohost: LAYOUT.tohost } })
    return {
      elf,
      log: LAYOUT.log,
      logBytes: LOG_BYTES,
      expected: Array.from({ length: PASSES }, (_, pass) =>
        this.#expected.map(({ what, value }) => ({ what: `pass ${pass}: ${what}`, value: value() })),
      ).flat(),
    }
  }
}

export function buildScenario(scenario: Scenario, environment: Environment): ScenarioImage {
  const story = new Story()
  scenario.build(story)
  return story.image(environment)
}

/** Differences between a log and what it must hold; empty when all is well. A word after the end must be zero. */
export function scenarioFailures({ expected }: ScenarioImage, log: Uint8Array): string[] {
  const view = new DataView(log.buffer, log.byteOffset, log.byteLength)
  const lines: string[] = []
  const hex = (value: bigint) => `0x${value.toString(16)}`
  expected.forEach(({ what, value }, n) => {
    const got = view.getBigUint64(8 * n, true)
    if (got !== value) lines.push(`${n}: ${what}: got ${hex(got)}, expected ${hex(value)}`)
  })
  const beyond = view.getBigUint64(8 * expected.length, true)
  if (beyond !== 0n) lines.push(`the log goes on with ${hex(beyond)}`)
  return lines
}
