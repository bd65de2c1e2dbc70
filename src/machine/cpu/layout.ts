/**
 * Where everything lies in the machine's Wasm memory. The only place that knows; addresses are constants in the
 * code that is compiled for one machine.
 *
 *     STATE_BASE      the running hart's registers (state.ts)
 *     control         words the core and its driver exchange
 *     fast TLBs       what compiled code looks up; derived, may be dropped at any time
 *     TLBs            the architectural translation caches; a guest can observe them, so they are state
 *     expansion       the 32-bit instruction that each 16-bit one stands for
 *     decoded         records of decoded instructions; derived, may be dropped at any time
 *     page tables     one entry a page of RAM: dirty flag, lines that hold translated code, code tables
 *     code tables     per page of code: for each halfword, a compiled entry point or a heat counter
 *     RAM             guest physical memory
 */

export const PAGE_BYTES = 4096
/** Guest physical address of the first byte of RAM (QEMU `virt`). */
export const RAM_START = 0x80000000

const WASM_PAGE_BYTES = 65536

/**
 * Address-translation modes. Each has TLBs of its own, so that a change of privilege flushes nothing, and code is
 * compiled for one of them, so that it knows its TLB by address. `other` stands for the rare combinations (MXR,
 * MPRV) and is flushed whenever it is entered.
 */
export const MODE = { user: 0, supervisor: 1, supervisorUserMemory: 2, machine: 3, other: 4 } as const
export const MODE_COUNT = 5

/** 256 entries: larger or split tables brought nothing in measurements. */
export const TLB_ENTRIES = 256
/** Fast entry: i64 tag (virtual page, or -1), i32 addend (memory address = low 32 bits of virtual address + addend), i32 code table (execute only). */
export const TLB_ENTRY_BYTES = 16
const TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES

export type Access = 'read' | 'write' | 'execute'
/** How generated code names the kinds of access. */
export const ACCESS_NUMBER: Readonly<Record<Access, number>> = { read: 0, write: 1, execute: 2 }

const CONTROL_BASE = 0x1800
/** u32 each: architectural TLB entries filled since the last flush of all. */
export const TLB_FILLS_BASE = 0x4000
/** Clearing so many entries one by one costs as much as clearing all. */
export const TLB_FILLS_MAX = 1024
export const FAST_TLB_BASE = 0x10000
export const TLB_BASE = 0x20000
const EXPANSION_BASE = 0x40000
const QUEUE_BASE = 0x80000
const PAGE_TABLES_BASE = 0x90000

/** Control words, i32 each unless said otherwise. Not architectural. */
export const control = {
  /** Non-zero: leave the interpreter loop after this instruction; the run loop looks at interrupts and at `exit`. */
  attention: CONTROL_BASE,
  /** Why the run loop must return to its driver: an EXIT value. */
  exit: CONTROL_BASE + 4,
  /** What a failed access left: 1 trap, 2 memory-mapped I/O. */
  fault: CONTROL_BASE + 8,
  /** Budget left at the instruction that touches a device, so that the guest clock is exact there. */
  budgetNow: CONTROL_BASE + 12,
  /** Cause and value (i64) of the trap to take. */
  trapCause: CONTROL_BASE + 16,
  trapValue: CONTROL_BASE + 24,
  /** Physical address (i64) of the access that `fault` = 2 is about. */
  ioAddress: CONTROL_BASE + 32,
  /** The translation mode in force and its TLB addresses. */
  mode: CONTROL_BASE + 40,
  /** Entry points that became hot and wait for compilation. */
  queueLength: CONTROL_BASE + 44,
  /** Pages whose translated code was overwritten. */
  invalidatedLength: CONTROL_BASE + 48,
  /** A store hit translated code: the running region must be left. */
  codeChanged: CONTROL_BASE + 52,
  /** Code tables handed out so far. */
  codeTablesUsed: CONTROL_BASE + 56,
  /** Translations cached since all were last flushed: as many are listed, if not more than TLB_FILLS_MAX. */
  tlbFills: CONTROL_BASE + 64,
  /** Written by the thread that compiles: code is ready to be installed. The run loop returns for it. */
  compiledReady: CONTROL_BASE + 68,
  /** All translated code was forgotten, or must be for want of code tables: the driver does it, and frees the compiled functions. */
  codeDropped: CONTROL_BASE + 60,
  /** The code table that was taken back last. */
  codeTableHand: CONTROL_BASE + 72,
} as const

/** Where the interpreter writes what an instruction would write to x0; nobody reads it. */
export const DISCARD = CONTROL_BASE + 0x100

/** Reasons for the run loop to return. */
export const EXIT = { none: 0, output: 1, ecall: 2, compile: 3, idle: 4, watch: 5 } as const

/** Entries the queue of hot entry points holds; small, since the driver empties it soon. Each: i64 pc, i32 physical page, i32 mode. */
export const QUEUE_ENTRIES = 256
export const QUEUE_ENTRY_BYTES = 16
/** Overwritten pages remembered until the driver frees their code; more sets the flag that drops all. */
export const INVALIDATED_MAX = 1024

/** One entry (i32) per halfword of a page. */
export const CODE_TABLE_BYTES = (PAGE_BYTES / 2) * 4
/** Pages of code whose visits are counted at once, a power of two: 16 MiB of guest code, 32 MiB of tables. See code-tables.ts. */
export const CODE_TABLES_MAX = 4096

/** A record of the cache of decoded instructions; see decode-cache.ts. */
export const DECODED_RECORD_BYTES = 16
/** A power of two: a record for each halfword of 512 KiB of code. */
export const DECODED_BYTES = 256 * 1024 * DECODED_RECORD_BYTES

/** Bytes of RAM that one bit of a page's code mask stands for. */
export const CODE_LINE_BYTES = 64

export interface Layout {
  readonly memoryBytes: number
  readonly pageCount: number
  readonly expansion: number
  readonly decoded: number
  readonly queue: number
  readonly invalidated: number
  /** u8 a page: written since the flag was cleared. */
  readonly dirty: number
  /** u8 a page: it is captured (page-capture.ts), and must be copied before it is written. */
  readonly captured: number
  /** u64 a page: bit n set when translated code lies in line n. */
  readonly codeLines: number
  /** u32 a page and mode: address of the page's code table, or 0. */
  readonly pageCode: number
  /** u32 a code table: address of the word of `pageCode` that names it. */
  readonly codeTableOwners: number
  /** The code tables, and behind them the spare one. */
  readonly codeTables: number
  /** Memory address of guest physical address RAM_START. */
  readonly ram: number
  readonly wasmPages: number
}

const alignUp = (value: number, to: number): number => Math.ceil(value / to) * to

export function layoutFor(memoryBytes: number): Layout {
  const pageCount = memoryBytes / PAGE_BYTES
  const dirty = PAGE_TABLES_BASE
  const captured = alignUp(dirty + pageCount, 64)
  const codeLines = alignUp(captured + pageCount, 64)
  const pageCode = codeLines + pageCount * 8
  const codeTableOwners = pageCode + pageCount * 4 * MODE_COUNT
  const decoded = alignUp(codeTableOwners + CODE_TABLES_MAX * 4, PAGE_BYTES)
  const codeTables = alignUp(decoded + DECODED_BYTES, CODE_TABLE_BYTES)
  const ram = alignUp(codeTables + (CODE_TABLES_MAX + 1) * CODE_TABLE_BYTES, WASM_PAGE_BYTES)
  return {
    memoryBytes,
    pageCount,
    expansion: EXPANSION_BASE,
    decoded,
    queue: QUEUE_BASE,
    invalidated: QUEUE_BASE + QUEUE_ENTRIES * QUEUE_ENTRY_BYTES,
    dirty,
    captured,
    codeLines,
    pageCode,
    codeTableOwners,
    codeTables,
    ram,
    // One page beyond RAM: an access at its very end may be read wider than it is.
    wasmPages: (ram + memoryBytes) / WASM_PAGE_BYTES + 1,
  }
}

/** Memory address of a mode's fast TLB. */
export function fastTlb(mode: number, access: Access): number {
  return FAST_TLB_BASE + (mode * 3 + ACCESS_NUMBER[access]) * TLB_BYTES
}

/** Memory address of a mode's architectural TLB: i64 tag (virtual page, or -1), i64 physical page address. */
export function tlb(mode: number, access: Access): number {
  return TLB_BASE + (mode * 3 + ACCESS_NUMBER[access]) * TLB_BYTES
}

/** Distance between the same TLB of neighbouring modes. */
export const TLB_MODE_STRIDE = 3 * TLB_BYTES
/** All fast TLBs, or all architectural ones. */
export const TLB_ALL_BYTES = MODE_COUNT * TLB_MODE_STRIDE
