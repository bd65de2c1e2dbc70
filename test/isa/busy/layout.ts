/**
 * Where everything of a busy program lies, and which registers hold it together.
 *
 * Each program owns a region of physical memory. Its first pages, the span, are what its code sees: code, data,
 * stack. The span is mapped several times over (an alias for each mode and table), and code is independent of its
 * position, so that the same function runs in every mode and at several virtual addresses. Each page of code exists
 * in two variants that differ in constants only: a page may be mapped to the other one at any moment, even under
 * running code, and what is computed tells which one ran.
 */
import { MACHINE, type Privilege, SUPERVISOR, USER } from '../../../src/machine/cpu/isa-test/privileged.ts'

export const PAGE_BYTES = 4096

/** The kernel: traps, services, start and end of programs. */
export const KERNEL_CODE = 0x8000_0000
export const KERNEL_DATA = 0x8001_0000
export const KERNEL_DATA_PAGES = 2
/** The first program's region; a multiple of a superpage's size. */
export const REGIONS = 0x8020_0000
export const REGION_PAGES = 64
export const REGION_BYTES = REGION_PAGES * PAGE_BYTES
export const PROGRAMS_MAX = 16

/** Few, so that what happens to one of them happens to code in use. */
export const CODE_PAGES = 5
export const CODE_BYTES = CODE_PAGES * PAGE_BYTES
/** Pages of a region, in order. The data slot (see program-code.ts) begins before the page that the base register points at. */
export const PAGE = {
  code: 0,
  data: 5,
  base: 6,
  window: 7,
  stack: 11,
  otherCode: 15,
  otherWindow: 20,
  tables: 22,
  /** Copies of the tables as they were at first: what the kernel puts back when code is not to be fetched. */
  goodTables: 34,
  edits: 46,
  results: 47,
} as const
export const WINDOW_PAGES = 4
export const OTHER_WINDOW_PAGES = 2
export const STACK_PAGES = 4
export const SPAN_PAGES = PAGE.otherCode
export const RESULT_PAGES = 10
export const GOOD_OFFSET_BYTES = (PAGE.goodTables - PAGE.tables) * PAGE_BYTES

/** Page tables of a region. Two address spaces share what lies behind `sharedUser`, `sharedSupervisor` and the superpages. */
export const TABLES = [
  'root0',
  'root1',
  'middle0',
  'middle1',
  'high',
  'supervisor0',
  'supervisor1',
  'user0',
  'user1',
  'sharedSupervisor',
  'sharedUser',
  'split',
] as const
export type TableName = (typeof TABLES)[number]

export function tableAddress(region: number, table: TableName): number {
  return region + (PAGE.tables + TABLES.indexOf(table)) * PAGE_BYTES
}

/** Virtual addresses that differ by a multiple of a megabyte meet in any direct-mapped TLB of up to 256 entries. */
const MIDDLE_STEP = 0x20_0000
const HIGH_HALF = 0xffff_ffc0_0000_0000n
export const MIDDLE = {
  supervisor: 4,
  sharedSupervisor: 5,
  user: 6,
  sharedUser: 7,
  supervisorSuperpage: 8,
  supervisorSuperpageSibling: 9,
  userSuperpage: 10,
  userSuperpageSibling: 11,
} as const
/** Every alias but M-mode's has a sibling for the same mode, at an address that differs in this bit. */
export const SIBLING = MIDDLE_STEP

export interface Alias {
  readonly mode: Privilege
  /** Virtual address of the span. */
  base(region: number): bigint
}

const small = (mode: Privilege, middle: number): Alias => ({
  mode,

  base: () => BigInt(middle * MIDDLE_STEP),
})
const huge = (mode: Privilege, middle: number): Alias => ({
  mode,
  base: (region) => BigInt(middle * MIDDLE_STEP + (region % MIDDLE_STEP)),
})

/** The number of an alias is what a program asks the kernel for. */
export const ALIASES: readonly Alias[] = [
  small(SUPERVISOR, MIDDLE.supervisor),
  small(USER, MIDDLE.user),
  small(SUPERVISOR, MIDDLE.sharedSupervisor),
  small(USER, MIDDLE.sharedUser),
  { mode: SUPERVISOR, base: () => HIGH_HALF + BigInt(MIDDLE.sharedSupervisor * MIDDLE_STEP) },
  huge(SUPERVISOR, MIDDLE.supervisorSuperpage),
  huge(USER, MIDDLE.userSuperpage),
  { mode: MACHINE, base: (region) => BigInt(region) },
]

/** Registers that random instructions leave alone. */
export const REGISTER = {
  return: 1,
  stack: 2,
  /** The alternate link register of leaf functions. */
  leafLink: 5,
  base: 8,
  scratch: 9,
  counters: [18, 19],
  hash: 20,
  /** A linear congruential generator, stepped wherever the program decides something. */
  random: 21,
  value: 22,
  /** Virtual address of the span in the alias that runs. */
  span: 23,
  recursion: 24,
  mainLoop: 25,
  word: 26,
  /** What changes an address of code to its sibling's: a bit, or nothing in M-mode. */
  sibling: 27,
} as const

/** The start of the span is the gate: where functions called through the kernel return to. Functions come behind it. */
export const FUNCTIONS_OFFSET = 16

/** Behind the constants on the base page: where a throw goes, within reach of an immediate. Three doubles: valid, pc and stack relative to the span. */
export const CATCH_OFFSET = 2000

/** Services of the kernel: what an environment call asks for, in the scratch register. */
export const SERVICE = {
  return: 0,
  call: 1,
  edit: 2,
  interrupt: 3,
  switchSpace: 4,
  setStatus: 5,
  clearStatus: 6,
  end: 7,
  timer: 8,
} as const
export const ALIAS_SHIFT = 4

/** The page of edits: edits of tables that the kernel makes on demand, then the aliases (address of the span, MPP). */
export const EDITS = 16
export const EDIT_BYTES = 32
export const ALIASES_OFFSET = EDITS * EDIT_BYTES
export const ALIAS_BYTES = 16
/** How an edit of a table is made known: not at all, by a fence of everything, of the address, of both, of the address space. */
export const FENCE = { none: 0, all: 1, address: 2, addressInSpace: 3, space: 4 } as const
export const SPACE_IDENTIFIERS = [3, 5] as const

export const RESULT = {
  registers: 0,
  /** Traps taken; their hash; where the next one is logged. */
  traps: 1024,
  log: 1088,
} as const
export const LOG_RECORD_BYTES = 32
export const LOG_RECORDS = Math.floor((RESULT_PAGES * PAGE_BYTES - RESULT.log) / LOG_RECORD_BYTES) - 1

export function regionOf(slot: number): number {
  return REGIONS + slot * REGION_BYTES
}
