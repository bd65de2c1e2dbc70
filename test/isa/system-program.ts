/**
 * Random programs that trap: page faults and edits of the tables, changes of mode, illegal instructions, code
 * written and called, interrupts, time. A machine-mode handler logs every trap and goes on behind it.
 */
import { encode } from '../../src/machine/cpu/isa-test/instructions.ts'
import { CSR, STATUS } from '../../src/machine/cpu/isa-test/privileged.ts'
import { Random } from '../../src/machine/cpu/isa-test/random.ts'
import type { ItemGenerator } from './item-generator.ts'
import type { Instruction, Item, Program } from './program.ts'
import { type Mix, randomProgram } from './random-program.ts'
import {
  conflicting,
  ENTRY_ADDRESS,
  ENTRY_VALUE,
  FRAMES,
  leafEntry,
  OUTER_LINK,
  PAGE_BYTES,
  SLOT_CODE_BYTES,
  SLOT_LINK,
  SLOT_WORDS,
  SLOTS,
  SLOTS_OFFSET,
  SYSTEM_LAYOUT,
  SYSTEM_ROLES,
  TEMPORARY,
  TRAMPOLINE_OFFSET,
  WINDOW,
  WINDOW_DATA_OFFSET,
  WINDOW_PAGES,
} from './system-layout.ts'

const CLINT_MTIMECMP = 0x0200_4000
/** Registers that may be read at any time: CLINT msip and mtime, a PLIC threshold, the UART's line status, the RTC's alarm. */
const DEVICE_REGISTERS = [0x0200_0000, 0x0200_bff8, 0x0c20_0000, 0x1000_0005, 0x0010_1010] as const
const SSIP = 2
const MIE = 8

/** `qemu`: only what QEMU does exactly as we must. `engines`: also what only our two engines must agree on. */
export type Flavour = 'qemu' | 'engines'

const SYSTEM_MIX: Mix = {
  integer: 14,
  compressed: 10,
  floating: 8,
  memory: 8,
  atomic: 4,
  csr: 2,
  control: 10,
  extra: 44,
}

const ILLEGAL_WORDS = [0xffff_ffff, 0x0000_0000, 0x0000_1067, 0x0000_5053, 0x0200_101b, 0x7e00_0033]
const ACCESSES = [
  'lb',
  'lh',
  'lw',
  'ld',
  'lbu',
  'lwu',
  'sb',
  'sh',
  'sw',
  'sd',
  'flw',
  'fld',
  'fsw',
  'fsd',
] as const
const WIDTHS: { readonly [letter: string]: number } = { b: 1, h: 2, w: 4, d: 8 }

export function systemProgram(seed: number, length: number, flavour: Flavour): Program {
  const favourites = favouritesOf(new Random(seed ^ 0xfa40))
  const extra = (random: Random, generator: ItemGenerator) =>
    new SystemRun(random, generator, flavour, favourites).item()
  return randomProgram(seed, length, {
    mix: SYSTEM_MIX,
    extra,
    roles: SYSTEM_ROLES,
    reserved: [SLOT_LINK, TEMPORARY, OUTER_LINK, ENTRY_ADDRESS, ENTRY_VALUE],
  })
}

/**
 * What a program comes back to most of the time: translations and compiled code must be used again after they were
 * made, or nothing stale would ever show.
 */
interface Favourites {
  /** Two pages that meet in a TLB, and one more. */
  readonly pages: readonly number[]
  readonly slots: readonly number[]
}

const FAVOURITE_PERCENT = 80

function favouritesOf(random: Random): Favourites {
  const first = random.below(WINDOW_PAGES.length / 2)
  const other = random.below(WINDOW_PAGES.length)
  return {
    pages: [WINDOW_PAGES[first]!, WINDOW_PAGES[first + WINDOW_PAGES.length / 2]!, WINDOW_PAGES[other]!],
    slots: [random.below(SLOTS), random.below(SLOTS), random.below(SLOTS)],
  }
}

class SystemRun {
  readonly #random: Random
  readonly #generator: ItemGenerator
  readonly #flavour: Flavour
  readonly #favourites: Favourites
  readonly #out: Instruction[] = []

  constructor(random: Random, generator: ItemGenerator, flavour: Flavour, favourites: Favourites) {
    this.#favourites = favourites
    this.#random = random
    this.#generator = generator
    this.#flavour = flavour
  }

  item(): Item {
    const roll = this.#random.below(100)
    if (roll < 4) return { kind: 'word', word: this.#random.pick(ILLEGAL_WORDS) }
    if (roll < 18) this.#windowAccess(this.#page())
    else if (roll < 26) this.#editEntry(this.#page())
    else if (roll < 36) this.#useEditUse()
    else if (roll < 40) this.#remapUnderTrampoline()
    else if (roll < 46) this.#changeMode()
    else if (roll < 58) this.#writeSlot()
    else if (roll < 74) this.#callSlot()
    else if (roll < 80) this.#callTrampoline()
    else if (roll < 84) this.#interrupt()
    else if (roll < 87) this.#privilegedCsr()
    else if (roll < 90) this.#statusBits()
    else if (roll < 93) this.#accessAsBefore()
    else if (roll < 95) this.#patchAhead()
    else if (this.#flavour === 'engines') this.#time()
    else this.#emit('ebreak')
    return { kind: 'run', instructions: this.#out }
  }

  #emit(mnemonic: Instruction['mnemonic'], ...operands: number[]): void {
    this.#out.push({ mnemonic, operands })
  }

  #page(): number {
    return this.#random.pick(this.#random.chance(FAVOURITE_PERCENT) ? this.#favourites.pages : WINDOW_PAGES)
  }

  #slot(): number {
    return this.#random.chance(FAVOURITE_PERCENT)
      ? this.#random.pick(this.#favourites.slots)
      : this.#random.below(SLOTS)
  }

  /** An unsigned 32-bit constant. */
  #constant(register: number, value: number): void {
    const low = (value << 20) >> 20
    this.#emit('lui', register, ((value - low) >>> 12) & 0xfffff)
    this.#emit('addiw', register, register, low)
    if (value >= 0x8000_0000) this.#emit('add.uw', register, register, 0)
  }

  /** A load or store in the upper half of a window page, sometimes over its end. */
  #windowAccess(page: number): void {
    const random = this.#random
    const offset = random.chance(25)
      ? PAGE_BYTES - random.between(1, 8)
      : random.between(WINDOW_DATA_OFFSET, PAGE_BYTES - 8)
    this.#constant(SYSTEM_ROLES.scratch, WINDOW + PAGE_BYTES * page + offset)
    if (this.#flavour === 'engines' && random.chance(15)) {
      const mnemonic = random.pick(['amoadd.w', 'amoswap.d', 'amomaxu.w', 'sc.w'] as const)
      this.#emit(mnemonic, this.#generator.destination(), this.#generator.source(), SYSTEM_ROLES.scratch, 0)
      return
    }
    const mnemonic = random.pick(ACCESSES)
    const bytes = WIDTHS[mnemonic.replace(/u$/, '').slice(-1)]!
    const aligned = random.chance(50) ? -(offset % bytes) : 0
    const isLoad = mnemonic.startsWith('l')
    const register = mnemonic.startsWith('f')
      ? random.below(32)
      : isLoad
        ? this.#generator.destination()
        : this.#generator.source()
    this.#emit(mnemonic, register, SYSTEM_ROLES.scratch, aligned)
  }

  /** A new leaf entry, and a fence: of everything, of the page, or (where only our engines are compared) none. */
  #editEntry(page: number): void {
    const random = this.#random
    this.#constant(SYSTEM_ROLES.scratch, SYSTEM_LAYOUT.leafTable + 8 * page)
    this.#constant(TEMPORARY, leafEntry(random))
    this.#emit('sd', TEMPORARY, SYSTEM_ROLES.scratch, 0)
    if (this.#flavour === 'engines' && random.chance(30)) return
    if (random.chance(60)) {
      this.#emit('sfence.vma', 0, 0)
      return
    }
    this.#constant(SYSTEM_ROLES.scratch, WINDOW + PAGE_BYTES * page)
    this.#emit('sfence.vma', SYSTEM_ROLES.scratch, 0)
  }

  /**
   * The same use of a page before and after its entry changes, with or without something in between that takes its
   * place in a TLB: what is used the second time must be decided by fences and evictions alone.
   */
  #useEditUse(): void {
    const random = this.#random
    const page = random.pick(this.#favourites.pages)
    const use = random.pick([
      () => this.#simpleAccess('ld', page),
      () => this.#simpleAccess('sd', page),
      () => this.#callSlotIn(WINDOW + PAGE_BYTES * page),
    ])
    use()
    this.#editEntry(page)
    if (random.chance(40)) this.#windowAccess(conflicting(page))
    use()
  }

  /** Through a trampoline in a page whose entry changed, to a callee that takes the page's place in the fetch TLB. */
  #remapUnderTrampoline(): void {
    const page = this.#random.pick(this.#favourites.pages)
    const call = (target: number) => {
      this.#constant(SYSTEM_ROLES.scratch, target)
      this.#constant(TEMPORARY, WINDOW + PAGE_BYTES * page + TRAMPOLINE_OFFSET)
      this.#emit('jalr', SLOT_LINK, TEMPORARY, 0)
    }
    const elsewhere = this.#slotAddress(WINDOW + PAGE_BYTES * conflicting(page))
    call(this.#slotAddress(SYSTEM_LAYOUT.frames))
    this.#editEntry(page)
    call(elsewhere)
    call(elsewhere)
  }

  #simpleAccess(mnemonic: 'ld' | 'sd', page: number): void {
    this.#constant(SYSTEM_ROLES.scratch, WINDOW + PAGE_BYTES * page + WINDOW_DATA_OFFSET)
    const register = mnemonic === 'ld' ? this.#generator.destination() : this.#generator.source()
    this.#emit(mnemonic, register, SYSTEM_ROLES.scratch, 8 * this.#random.below(64))
    if (mnemonic === 'ld' && register !== 0) this.#emit('xor', SYSTEM_ROLES.hash, SYSTEM_ROLES.hash, register)
  }

  #changeMode(): void {
    this.#emit('addi', SYSTEM_ROLES.scratch, 0, this.#random.pick([0, 1, 1, 1, 3]))
    this.#emit('ecall')
  }

  /** A harmless instruction, or two compressed ones, as a word. */
  #harmlessWord(): number {
    const random = this.#random
    const rd = this.#generator.destination(8, 15)
    if (rd !== 0 && random.chance(30)) {
      const low = encode('c.addi', rd, random.between(1, 31))
      return (low | (encode('c.add', rd, random.between(1, 31)) << 16)) >>> 0
    }
    const mnemonic = random.pick([
      'add',
      'sub',
      'xor',
      'mul',
      'sltu',
      'sh2add',
      'rol',
      'mulhu',
      'andn',
    ] as const)
    return encode(mnemonic, this.#generator.destination(), this.#generator.source(), this.#generator.source())
  }

  #slotAddress(base: number): number {
    return base + SLOTS_OFFSET + SLOT_CODE_BYTES * this.#slot()
  }

  /** Through a frame itself or through the window, wherever that leads. */
  #somePage(): number {
    return this.#random.chance(60)
      ? SYSTEM_LAYOUT.frames + PAGE_BYTES * this.#random.below(FRAMES)
      : WINDOW + PAGE_BYTES * this.#page()
  }

  #writeSlot(): void {
    const random = this.#random
    if (random.chance(20)) {
      this.#writeAcrossLine()
      return
    }
    this.#constant(SYSTEM_ROLES.scratch, this.#slotAddress(this.#somePage()))
    this.#constant(TEMPORARY, this.#harmlessWord())
    this.#emit('sw', TEMPORARY, SYSTEM_ROLES.scratch, 4 * random.below(SLOT_WORDS))
    if (random.chance(40)) this.#emit('fence.i')
  }

  /** Rewrites the first word of a slot with a misaligned store that begins in the slot before, on its jump back. */
  #writeAcrossLine(): void {
    this.#constant(SYSTEM_ROLES.scratch, this.#harmlessWord())
    this.#emit('slli', SYSTEM_ROLES.scratch, SYSTEM_ROLES.scratch, 32)
    this.#constant(TEMPORARY, encode('jalr', 0, SLOT_LINK, 0))
    this.#emit('or', TEMPORARY, TEMPORARY, SYSTEM_ROLES.scratch)
    this.#constant(SYSTEM_ROLES.scratch, this.#slotAddress(this.#somePage()))
    this.#emit('sd', TEMPORARY, SYSTEM_ROLES.scratch, -4)
  }

  #callSlot(): void {
    this.#callSlotIn(this.#somePage())
  }

  #callSlotIn(page: number): void {
    this.#constant(SYSTEM_ROLES.scratch, this.#slotAddress(page))
    this.#emit('jalr', SLOT_LINK, SYSTEM_ROLES.scratch, 4 * this.#random.below(SLOT_WORDS))
  }

  #callTrampoline(): void {
    const random = this.#random
    const remapping = random.chance(70)
    if (remapping) {
      this.#constant(ENTRY_ADDRESS, SYSTEM_LAYOUT.leafTable + 8 * this.#page())
      this.#constant(ENTRY_VALUE, leafEntry(random))
    }
    const remapper =
      this.#flavour === 'engines' && random.chance(40)
        ? SYSTEM_LAYOUT.remapperUnfenced
        : SYSTEM_LAYOUT.remapper
    this.#constant(SYSTEM_ROLES.scratch, remapping ? remapper : this.#slotAddress(this.#somePage()))
    this.#constant(TEMPORARY, this.#somePage() + TRAMPOLINE_OFFSET)
    this.#emit('jalr', SLOT_LINK, TEMPORARY, 0)
  }

  #interrupt(): void {
    const random = this.#random
    switch (random.below(3)) {
      case 0:
        this.#emit('csrrsi', 0, CSR.mip, SSIP)
        break
      case 1:
        this.#emit('csrrsi', 0, CSR.mstatus, MIE)
        break
      default:
        this.#emit('csrrci', 0, CSR.mstatus, MIE)
    }
  }

  #privilegedCsr(): void {
    const random = this.#random
    const csr = random.pick([CSR.sscratch, CSR.stval, CSR.mhartid])
    const rd = this.#generator.destination()
    if (csr === CSR.mhartid || random.chance(50)) this.#emit('csrrs', rd, csr, 0)
    else this.#emit('csrrw', rd, csr, this.#generator.source())
  }

  /** Rewrites the instruction that follows. Without a fence QEMU would run the old one. */
  #patchAhead(): void {
    const fenced = this.#flavour === 'qemu' || this.#random.chance(30)
    this.#emit('auipc', SYSTEM_ROLES.scratch, 0)
    const word = this.#harmlessWord()
    this.#constant(TEMPORARY, word)
    const distance = 4 * (1 + (word >= 0x8000_0000 ? 3 : 2) + 1 + (fenced ? 1 : 0))
    this.#emit('sw', TEMPORARY, SYSTEM_ROLES.scratch, distance)
    if (fenced) this.#emit('fence.i')
    this.#emit('add', this.#generator.destination(), this.#generator.source(), this.#generator.source())
  }

  /**
   * SUM and MXR, which change what S-mode may touch. Under SUM QEMU 7.2 lets S-mode run user code that a load has
   * brought into its TLB, so only our engines are compared there.
   */
  #statusBits(): void {
    const random = this.#random
    const bits =
      this.#flavour === 'qemu' ? STATUS.mxr : random.pick([STATUS.sum, STATUS.mxr, STATUS.sum | STATUS.mxr])
    this.#constant(TEMPORARY, Number(bits))
    this.#emit(random.chance(50) ? 'csrrs' : 'csrrc', 0, CSR.sstatus, TEMPORARY)
  }

  /** In M-mode, an access with the rights of the mode before the last trap. */
  #accessAsBefore(): void {
    const { scratch } = SYSTEM_ROLES
    this.#constant(scratch, WINDOW + PAGE_BYTES * this.#page() + WINDOW_DATA_OFFSET)
    this.#constant(TEMPORARY, Number(STATUS.mprv))
    this.#emit('csrrs', 0, CSR.mstatus, TEMPORARY)
    if (this.#random.chance(50)) this.#emit('ld', this.#generator.destination(), scratch, 8)
    else this.#emit('sw', this.#generator.source(), scratch, 4)
    this.#emit('csrrc', 0, CSR.mstatus, TEMPORARY)
  }

  /** Counters, the clock, timer interrupts, waiting, and device registers: exact on our machine. */
  #time(): void {
    const random = this.#random
    const { scratch } = SYSTEM_ROLES
    const roll = random.below(100)
    if (roll < 30) {
      this.#emit('csrrs', this.#generator.destination(), random.pick([CSR.cycle, CSR.time, CSR.instret]), 0)
      return
    }
    if (roll < 55) {
      this.#constant(scratch, random.pick(DEVICE_REGISTERS))
      this.#emit(random.pick(['lbu', 'lhu', 'lw', 'ld'] as const), this.#generator.destination(), scratch, 0)
      return
    }
    const waits = roll < 70
    if (waits) {
      // Only M-mode reaches the timer. An interrupt before the wait would disarm it, and the wait have no end.
      this.#emit('addi', scratch, 0, 3)
      this.#emit('ecall')
      this.#emit('csrrci', 0, CSR.mstatus, MIE)
    }
    this.#emit('csrrs', TEMPORARY, CSR.time, 0)
    this.#emit('addi', TEMPORARY, TEMPORARY, random.below(waits ? 2000 : 8))
    this.#constant(scratch, CLINT_MTIMECMP)
    this.#emit('sd', TEMPORARY, scratch, 0)
    if (waits) this.#emit('wfi')
  }
}
