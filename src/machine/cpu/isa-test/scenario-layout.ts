/** Where the things of a scenario lie in memory. */

/** Where things lie. All of it is fixed so that page table entries are constants. */
export const LAYOUT = {
  code: 0x8000_0000,
  rootTable: 0x8001_0000,
  middleTable: 0x8001_1000,
  leafTable: 0x8001_2000,
  /** Four pages of data that scenarios map as they like. */
  pages: 0x8001_4000,
  /** For scenarios without superpages: RAM by pages of 4 KiB. */
  ramMiddleTable: 0x8001_8000,
  ramLeafTable: 0x8001_9000,
  log: 0x8002_0000,
  tohost: 0x8003_0000,
  /** The tables and pages as they are at first, for the next pass. */
  pristine: 0x8004_0000,
} as const

/** All of RAM is mapped once more for user mode, so much lower: user code must lie in user pages. */
export const USER_ALIAS_OFFSET = 0x4000_0000
/** The virtual page that the leaf table's entry 0 maps; entry n maps n pages on. */
export const WINDOW = 0x0020_0000

/** Nothing is there, in QEMU's map and in ours. */
export const NOWHERE = 0x0600_0000
