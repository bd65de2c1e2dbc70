/**
 * The code around an entry point as a compiler sees it: the entry's page, and the pages beside it whose memory is
 * known because fetches lately went there.
 *
 * Offsets count from the start of the entry's page and may be negative or beyond its end. That a page beside it is
 * where it was seen is a guess, which compiled code asks about whenever it gets there.
 */
import { Arrivals } from './arrivals.ts'
import { PAGE_BYTES } from './layout.ts'

/** Which page, counted from the entry's, an offset lies in. */
export function pageOf(offset: number): number {
  return Math.floor(offset / PAGE_BYTES)
}

export function inPage(offset: number): number {
  return offset & (PAGE_BYTES - 1)
}

/** A copy of a page of guest code. */
export interface CodePage {
  /** Number of the page of RAM. */
  page: number
  readonly code: Uint8Array<ArrayBuffer>
  /** Its code table: for each halfword a slot (positive), or less the number of visits. */
  readonly heat: Int32Array<ArrayBuffer>
}

/** A region in more pages has more to ask on its way than it gains. */
const PAGES_MAX = 4
/** Beyond this many pages another part of the program begins. */
const DISTANCE_MAX = 32

interface KnownPage {
  readonly source: CodePage
  readonly view: DataView
  readonly arrivals: Arrivals
}

export class GuestCode {
  readonly #entryVisits: number
  readonly #neighbour: (distance: number) => CodePage | null
  readonly #known = new Map<number, KnownPage | null>()

  /** `neighbour` gives the page so many pages from the entry's, if it is known. */
  constructor(own: CodePage, entry: number, neighbour: (distance: number) => CodePage | null) {
    this.#entryVisits = -own.heat[entry / 2]
    this.#neighbour = neighbour
    this.#known.set(0, this.#view(own))
  }

  /** The bytes of a page, counted from the entry's; null if they are not known. */
  page(distance: number): DataView | null {
    return this.#at(distance)?.view ?? null
  }

  source(distance: number): CodePage {
    const known = this.#at(distance)
    if (known === null) throw new Error(`page ${distance} is not known`)
    return known.source
  }

  /** Whether control arrives at an offset often enough for it to belong to a region. */
  isReached(offset: number): boolean {
    return this.#at(pageOf(offset))?.arrivals.isReached(inPage(offset)) ?? false
  }

  /** Whether an offset is where calls and computed jumps go. */
  isUsual(offset: number): boolean {
    return this.#at(pageOf(offset))?.arrivals.isUsual(inPage(offset)) ?? false
  }

  /** Offsets in the entry's page, near another, at which control arrives usually; nearest first. */
  usualNear(offset: number, spanBytes: number): number[] {
    return this.#at(0)?.arrivals.usualNear(offset, spanBytes) ?? []
  }

  #at(distance: number): KnownPage | null {
    const known = this.#known.get(distance)
    if (known !== undefined) return known
    const isFull = [...this.#known.values()].filter((page) => page !== null).length === PAGES_MAX
    const found = isFull || Math.abs(distance) > DISTANCE_MAX ? null : this.#neighbour(distance)
    const view = found === null ? null : this.#view(found)
    this.#known.set(distance, view)
    return view
  }

  #view(source: CodePage): KnownPage {
    const { buffer, byteOffset } = source.code
    return {
      source,
      view: new DataView(buffer, byteOffset, PAGE_BYTES),
      arrivals: new Arrivals(source.heat, this.#entryVisits),
    }
  }
}
