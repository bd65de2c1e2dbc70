/**
 * Random programs that trap: page faults and edits of the tables, changes of mode, illegal instructions, code
 * written and called, interrupts. A machine-mode handler logs every trap and goes on behind it.
 *
 * All addresses are fixed, so that runs can hold them as constants: a window of virtual pages whose leaf entries the
 * program edits, four frames that the entries can point at, and in each frame slots of code (lower half) and room
 * for data (upper half). Every slot ends in a jump through the slot link register, so wherever a call lands it comes back.
 */
import { encode } from '../../src/machine/cpu/isa-test/instructions.ts'
import { CSR, PTE } from '../../src/machine/cpu/isa-test/privileged.ts'
import { Random } from '../../src/machine/cpu/isa-test/random.ts'
import type { ItemGenerator, Roles } from './item-generator.ts'
import type { Instruction, Item, Program } from './program.ts'
import { type Mix, randomProgram } from './random-program.ts'

const PAGE_BYTES = 4096

/** Where the fixed things lie. */
export const SYSTEM_LAYOUT = {
  /** Entry and trap handler. */
  code: 0x8000_0000,
  /** A function that writes a leaf entry and fences, and behind it one that does not fence. */
  remapper: 0x8000_1800,
  remapperUnfenced: 0x8000_1840,
  rootTable: 0x8000_2000,
  middleTable: 0x8000_3000,
  leafTable: 0x8000_4000,
  /** What the handler needs: saved registers, the end of the log. */
  handlerData: 0x8000_5000,
  frames: 0x8000_6000,
  /** For programs without superpages: RAM by small pages, once for M and S, once for U, each from a root of its own. */
  userRootTable: 0x8000_a000,
  ramMiddleTables: 0x8000_b000,
  ramLeafTables: 0x8000_d000,
  programs: 0x8001_0000,
} as const
/** RAM mapped by the small pages: one leaf table's reach. */
export const SMALL_PAGES_BYTES = 512 * PAGE_BYTES
export const FRAMES = 4
export const WINDOW = 0x0020_0000
/**
 * Pages of the window, as indices of the leaf table: two groups a megabyte apart, so that they meet in any
 * direct-mapped TLB of up to 256 entries and throw each other out.
 */
export const WINDOW_PAGES = [0, 1, 2, 3, 4, 5, 6, 256, 257, 258, 259, 260, 261, 262] as const

/** Slots of code in the lower half of each frame; the first bytes catch stores that cross into the page. */
export const SLOTS_OFFSET = 64
export const SLOT_CODE_BYTES = 64
export const SLOTS = 30
const SLOT_WORDS = SLOT_CODE_BYTES / 4 - 1
/**
 * Behind the slots of each frame a trampoline: it calls what the scratch register holds and comes back, perhaps into
 * another frame, because what it called may have remapped its page. It is the same everywhere but for one constant.
 */
export const TRAMPOLINE_OFFSET = SLOTS_OFFSET + SLOT_CODE_BYTES * SLOTS
const WINDOW_DATA_OFFSET = 2048

/** The handler resumes behind a fetch fault through SLOT_LINK, and reads the wanted mode from the scratch register. */
export const SYSTEM_ROLES: Roles = { base: 8, scratch: 9, counters: [18, 19], link: 1, hash: 20 }
export const SLOT_LINK = 5
const TEMPORARY = 22
/** Where a trampoline keeps its own return address, and the remapper's arguments: the entry's address and value. */
export const OUTER_LINK = 23
export const ENTRY_ADDRESS = 24
export const ENTRY_VALUE = 25

const CLINT_MTIMECMP = 0x0200_4000
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

/** Leaf permissions, most of them useful. A and D are always set: QEMU would set them by itself. */
const FLAGS = [
  PTE.v | PTE.r,
  PTE.v | PTE.r | PTE.w,
  PTE.v | PTE.r | PTE.x,
  PTE.v | PTE.r | PTE.w | PTE.x,
  PTE.v | PTE.r | PTE.w | PTE.x,
  PTE.v | PTE.r | PTE.w | PTE.x | PTE.u,
  PTE.v | PTE.r | PTE.w | PTE.u,
  PTE.v | PTE.x,
  PTE.v | PTE.w,
  PTE.v,
  0,
].map((flags) => (flags & (PTE.r | PTE.w | PTE.x) ? flags | PTE.a | PTE.d : flags))

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

/** The page a megabyte away, which has the same place in a direct-mapped TLB. */
function conflicting(page: number): number {
  return page ^ 256
}

/** A leaf entry for one of the frames. */
export function leafEntry(random: Random): number {
  const frame = SYSTEM_LAYOUT.frames + PAGE_BYTES * random.below(FRAMES)
  return (frame / PAGE_BYTES) * 1024 + random.pick(FLAGS)
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
    else if (roll < 86) this.#interrupt()
    else if (roll < 92) this.#privilegedCsr()
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

  /** Counters, the clock and timer interrupts, exact on our machine. */
  #time(): void {
    const random = this.#random
    if (random.chance(50)) {
      this.#emit('csrrs', this.#generator.destination(), random.pick([CSR.cycle, CSR.time, CSR.instret]), 0)
      return
    }
    this.#emit('csrrs', TEMPORARY, CSR.time, 0)
    this.#emit('addi', TEMPORARY, TEMPORARY, random.below(8))
    this.#constant(SYSTEM_ROLES.scratch, CLINT_MTIMECMP)
    this.#emit('sd', TEMPORARY, SYSTEM_ROLES.scratch, 0)
  }
}
