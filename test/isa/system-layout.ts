/**
 * Where the fixed things of system programs lie. All addresses are fixed, so that runs can hold them as constants: a
 * window of virtual pages whose leaf entries the program edits, four frames that the entries can point at, and in
 * each frame slots of code (lower half) and room for data (upper half). Every slot ends in a jump through the slot
 * link register, so wherever a call lands it comes back.
 */
import { PTE } from '../../src/machine/cpu/isa-test/privileged.ts'
import type { Random } from '../../src/machine/cpu/isa-test/random.ts'
import type { Roles } from './item-generator.ts'

export const PAGE_BYTES = 4096

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
export const SLOT_WORDS = SLOT_CODE_BYTES / 4 - 1
/**
 * Behind the slots of each frame a trampoline: it calls what the scratch register holds and comes back, perhaps into
 * another frame, because what it called may have remapped its page. It is the same everywhere but for one constant.
 */
export const TRAMPOLINE_OFFSET = SLOTS_OFFSET + SLOT_CODE_BYTES * SLOTS
export const WINDOW_DATA_OFFSET = 2048

/** The handler resumes behind a fetch fault through SLOT_LINK, and reads the wanted mode from the scratch register. */
export const SYSTEM_ROLES: Roles = { base: 8, scratch: 9, counters: [18, 19], link: 1, hash: 20 }
export const SLOT_LINK = 5
export const TEMPORARY = 22
/** Where a trampoline keeps its own return address, and the remapper's arguments: the entry's address and value. */
export const OUTER_LINK = 23
export const ENTRY_ADDRESS = 24
export const ENTRY_VALUE = 25

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

/** The page a megabyte away, which has the same place in a direct-mapped TLB. */
export function conflicting(page: number): number {
  return page ^ 256
}

/** A leaf entry for one of the frames. */
export function leafEntry(random: Random): number {
  const frame = SYSTEM_LAYOUT.frames + PAGE_BYTES * random.below(FRAMES)
  return (frame / PAGE_BYTES) * 1024 + random.pick(FLAGS)
}
