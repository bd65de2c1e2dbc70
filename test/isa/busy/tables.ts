/** The page tables of a region, and random edits of them. */
import { PTE, SATP_SV39, SUPERVISOR } from '../../../src/machine/cpu/isa-test/privileged.ts'
import type { Random } from '../../../src/machine/cpu/isa-test/random.ts'
import { PTE_LAZY, PTE_MANDATORY } from './kernel-state.ts'
import {
  ALIASES,
  CODE_PAGES,
  FENCE,
  KERNEL_CODE,
  MIDDLE,
  OTHER_WINDOW_PAGES,
  PAGE,
  PAGE_BYTES,
  REGION_BYTES,
  SPACE_IDENTIFIERS,
  SPAN_PAGES,
  TABLES,
  type TableName,
  tableAddress,
  WINDOW_PAGES,
} from './layout.ts'
import type { Edit, Flavour } from './program.ts'

const SUPERPAGE_BYTES = 0x20_0000
const ENTRIES = 512
const ALL = PTE.v | PTE.r | PTE.w | PTE.x | PTE.a | PTE.d
const DATA = PTE.v | PTE.r | PTE.w | PTE.a | PTE.d

const physical = (address: number) => BigInt(address / PAGE_BYTES) << 10n
const entry = (address: number, flags: number) => physical(address) | BigInt(flags)

/** A table of last-level entries for the span: who uses it, at which addresses, in which spaces. */
interface Leaf {
  readonly table: TableName
  /** Index of the span's first page. */
  first(region: number): number
  readonly user: boolean
  /** Which variant of the code it maps at first. */
  readonly other: boolean
  /** Numbers of the aliases that see it. */
  readonly aliases: readonly number[]
  /** The space that alone uses it, or null. */
  readonly space: number | null
}

const atStart = () => 0
const LEAVES: readonly Leaf[] = [
  { table: 'supervisor0', first: atStart, user: false, other: false, aliases: [0], space: 0 },
  { table: 'supervisor1', first: atStart, user: false, other: true, aliases: [0], space: 1 },
  { table: 'user0', first: atStart, user: true, other: true, aliases: [1], space: 0 },
  { table: 'user1', first: atStart, user: true, other: false, aliases: [1], space: 1 },
  { table: 'sharedSupervisor', first: atStart, user: false, other: true, aliases: [2, 4], space: null },
  { table: 'sharedUser', first: atStart, user: true, other: true, aliases: [3], space: null },
  {
    table: 'split',
    first: (region) => (region % SUPERPAGE_BYTES) / PAGE_BYTES,
    user: false,
    other: true,
    aliases: [5],
    space: null,
  },
]

const superpage = (region: number, user: boolean) =>
  entry(Math.floor(region / SUPERPAGE_BYTES) * SUPERPAGE_BYTES, ALL | PTE_MANDATORY | (user ? PTE.u : 0))

/** All tables of a region as they are at first, in the order of TABLES. */
export function firstTables(region: number): BigUint64Array {
  const words = new BigUint64Array(TABLES.length * ENTRIES)
  const set = (table: TableName, index: number, value: bigint) => {
    words[TABLES.indexOf(table) * ENTRIES + index] = value
  }
  const pointer = (table: TableName) => entry(tableAddress(region, table), PTE.v)
  for (const [root, middle, supervisor, user] of [
    ['root0', 'middle0', 'supervisor0', 'user0'],
    ['root1', 'middle1', 'supervisor1', 'user1'],
  ] as const) {
    set(root, 0, pointer(middle))
    set(root, KERNEL_CODE / 0x4000_0000, entry(KERNEL_CODE, ALL | PTE.g))
    set(root, ENTRIES / 2, pointer('high'))
    set(middle, MIDDLE.supervisor, pointer(supervisor))
    set(middle, MIDDLE.user, pointer(user))
    set(middle, MIDDLE.sharedSupervisor, pointer('sharedSupervisor'))
    set(middle, MIDDLE.sharedUser, pointer('sharedUser'))
    for (const index of [MIDDLE.supervisorSuperpage, MIDDLE.supervisorSuperpageSibling]) {
      set(middle, index, superpage(region, false))
    }
    for (const index of [MIDDLE.userSuperpage, MIDDLE.userSuperpageSibling]) {
      set(middle, index, superpage(region, true))
    }
  }
  // The high half has the shared table twice, as an alias and as its sibling.
  set('high', MIDDLE.sharedSupervisor, pointer('sharedSupervisor'))
  set('high', MIDDLE.supervisor, pointer('sharedSupervisor'))
  for (const leaf of LEAVES) {
    for (let page = 0; page < SPAN_PAGES; page++) {
      set(leaf.table, leaf.first(region) + page, firstEntry(region, leaf, page))
    }
  }
  return words
}

function firstEntry(region: number, leaf: Leaf, page: number): bigint {
  const user = leaf.user ? PTE.u : 0
  if (page < CODE_PAGES) {
    const frame = region + ((leaf.other ? PAGE.otherCode : PAGE.code) + page) * PAGE_BYTES
    return entry(frame, ALL | PTE_MANDATORY | user)
  }
  const isWindow = page >= PAGE.window && page < PAGE.window + WINDOW_PAGES
  return entry(region + page * PAGE_BYTES, DATA | user | (isWindow ? 0 : PTE_MANDATORY))
}

export function satp(region: number, space: number): bigint {
  const root = BigInt(tableAddress(region, space === 0 ? 'root0' : 'root1') / PAGE_BYTES)
  return SATP_SV39 | (BigInt(SPACE_IDENTIFIERS[space]!) << 44n) | root
}

/** A random edit, often of what `alias` sees. For QEMU it is fenced as the manual demands; for our engines alone it may not be. */
export function randomEdit(random: Random, region: number, alias: number, flavour: Flavour): Edit {
  return random.chance(12)
    ? superpageEdit(random, region, flavour)
    : leafEdit(random, region, alias, flavour, true)
}

/**
 * An edit for code to make by itself: for QEMU none of the code's own entries, since what is fetched between the
 * store and the fence may come from the old or the new page.
 */
export function randomOwnEdit(random: Random, region: number, alias: number, flavour: Flavour): Edit {
  return flavour === 'engines'
    ? randomEdit(random, region, alias, flavour)
    : leafEdit(random, region, alias, flavour, false)
}

const CODE_PERCENT = 55
/** How often an edit is one of what the program's own alias sees, if that has small pages. */
const USED_PERCENT = 50

function leafEdit(random: Random, region: number, alias: number, flavour: Flavour, mayBeCode: boolean): Edit {
  const used = LEAVES.filter(({ aliases }) => aliases.includes(alias))
  const leaf = random.pick(used.length > 0 && random.chance(USED_PERCENT) ? used : LEAVES)
  const roll = mayBeCode ? random.below(100) : random.between(CODE_PERCENT, 99)
  const page =
    roll < CODE_PERCENT
      ? random.below(CODE_PAGES)
      : roll < 85
        ? PAGE.window + random.below(WINDOW_PAGES)
        : random.pick([PAGE.data, PAGE.base, PAGE.stack, PAGE.stack + 3])
  const user = leaf.user ? PTE.u : 0
  const value =
    page < CODE_PAGES
      ? codeEntry(random, region, page, user)
      : page >= PAGE.window && page < PAGE.stack
        ? windowEntry(random, region, user)
        : ownEntry(random, region, page, user, flavour)
  const address = ALIASES[random.pick(leaf.aliases)]!.base(region) + BigInt(page * PAGE_BYTES)
  const kinds: number[] = [FENCE.all]
  if (leaf.aliases.length === 1) {
    kinds.push(FENCE.address)
    if (leaf.space !== null) kinds.push(FENCE.addressInSpace)
  }
  if (leaf.space !== null) kinds.push(FENCE.space)
  return {
    entry: tableAddress(region, leaf.table) + 8 * (leaf.first(region) + page),
    value,
    address,
    fence: flavour === 'engines' && random.chance(35) ? random.below(5) : random.pick(kinds),
    space: SPACE_IDENTIFIERS[leaf.space ?? random.below(2)]!,
  }
}

/** The entry of a page of code in a table that `alias` sees, and what turns it to the other variant. */
export function variantSwap(
  random: Random,
  region: number,
  alias: number,
): { entry: number; difference: bigint; page: number } {
  const used = LEAVES.filter(({ aliases }) => aliases.includes(alias))
  const leaf = random.pick(used.length > 0 ? used : LEAVES)
  const page = random.below(CODE_PAGES)
  const frame = (first: number) => physical(region + (first + page) * PAGE_BYTES)
  return {
    entry: tableAddress(region, leaf.table) + 8 * (leaf.first(region) + page),
    difference: frame(PAGE.code) ^ frame(PAGE.otherCode),
    page,
  }
}

/** Entries for code: the other variant, rights taken away, A or D clear, or nothing until it is used. */
function codeEntry(random: Random, region: number, page: number, user: number): bigint {
  const frame = region + ((random.chance(50) ? PAGE.otherCode : PAGE.code) + page) * PAGE_BYTES
  const flags = random.pick([
    ALL,
    ALL,
    ALL,
    ALL & ~PTE.w,
    ALL & ~PTE.x,
    ALL & ~PTE.d,
    ALL & ~PTE.a & ~PTE.d,
    (ALL & ~PTE.v) | PTE_LAZY,
    (ALL & ~PTE.v) | PTE_LAZY,
    0,
  ])
  return entry(frame, flags | user)
}

function windowEntry(random: Random, region: number, user: number): bigint {
  const n = random.below(WINDOW_PAGES + OTHER_WINDOW_PAGES)
  const frame =
    region + (n < WINDOW_PAGES ? PAGE.window + n : PAGE.otherWindow + n - WINDOW_PAGES) * PAGE_BYTES
  const flags = random.pick([
    DATA,
    DATA,
    DATA & ~PTE.w,
    DATA & ~PTE.d,
    DATA & ~PTE.a & ~PTE.d,
    (DATA & ~PTE.v) | PTE_LAZY,
    PTE.v | PTE.x | PTE.a | PTE.d,
    PTE.v | PTE.w | PTE.a | PTE.d,
    0,
  ])
  return entry(frame, flags | (random.chance(90) ? user : PTE.u ^ user))
}

/** Data and stack stay where they are. QEMU reports an AMO that faults as a load, so there they stay valid, too. */
function ownEntry(random: Random, region: number, page: number, user: number, flavour: Flavour): bigint {
  const flags = random.pick([DATA & ~PTE.d, DATA & ~PTE.a & ~PTE.d, (DATA & ~PTE.v) | PTE_LAZY])
  const mayBeInvalid = flavour === 'engines' || page >= PAGE.stack
  return entry(region + page * PAGE_BYTES, (mayBeInvalid ? flags : flags | PTE.v) | user)
}

/** A superpage becomes many small pages that map the same or the other code, or the other way round. */
function superpageEdit(random: Random, region: number, flavour: Flavour): Edit {
  const alias = random.pick([5, 6])
  const user = ALIASES[alias]!.mode !== SUPERVISOR
  const middle = random.chance(50) ? 'middle0' : 'middle1'
  const whole = superpage(region, user) & ~BigInt(PTE_MANDATORY)
  const value =
    user || random.chance(40)
      ? random.pick([
          whole,
          whole & ~BigInt(PTE.a | PTE.d),
          // Not for QEMU: there are AMOs to data in it.
          flavour === 'qemu' ? whole : (whole & ~BigInt(PTE.v)) | BigInt(PTE_LAZY),
          whole & ~BigInt(PTE.x),
        ])
      : entry(tableAddress(region, 'split'), PTE.v)
  const address = ALIASES[alias]!.base(region) + BigInt(PAGE_BYTES * random.below(SPAN_PAGES))
  return {
    entry: tableAddress(region, middle) + 8 * (user ? MIDDLE.userSuperpage : MIDDLE.supervisorSuperpage),
    value,
    address,
    fence: flavour === 'engines' && random.chance(40) ? random.below(5) : FENCE.all,
    space: random.pick(SPACE_IDENTIFIERS),
  }
}

/** Bytes that a region spans, for readers of its memory. */
export const REGION_WORDS = REGION_BYTES / 8
