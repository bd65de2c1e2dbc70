/**
 * Books of the code that is installed: which module has how many regions in use, which regions lie on a page. A module's memory is given back by the host when none of its functions is in the table.
 */
import type { RegionPlace } from './region-module.ts'

export interface InstalledRegion extends RegionPlace {
  /** Its slot in the function table. */
  readonly slot: number
  /** Numbers of all pages of RAM that hold some of its code. */
  readonly pages: readonly number[]
}

interface InstalledModule {
  /** Its place in the list of all. */
  place: number
  readonly bytes: number
  readonly regions: Set<InstalledRegion>
}

export class InstalledCode {
  readonly #modules: InstalledModule[] = []
  readonly #moduleOf = new Map<InstalledRegion, InstalledModule>()
  readonly #regionsOfPage = new Map<number, Set<InstalledRegion>>()
  #bytes = 0

  /** Regions in use. */
  get size(): number {
    return this.#moduleOf.size
  }

  /** Bytes of WebAssembly of all modules of which something is in use. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether some of a region in use lies on a page. */
  isOn(page: number): boolean {
    return this.#regionsOfPage.has(page)
  }

  /** A module of so many bytes, with at least one region. */
  add(bytes: number, regions: readonly InstalledRegion[]): void {
    const module = { place: this.#modules.length, bytes, regions: new Set(regions) }
    this.#modules.push(module)
    this.#bytes += bytes
    for (const region of regions) {
      this.#moduleOf.set(region, module)
      for (const page of region.pages) {
        const neighbours = this.#regionsOfPage.get(page)
        if (neighbours === undefined) this.#regionsOfPage.set(page, new Set([region]))
        else neighbours.add(region)
      }
    }
  }

  /** Takes out what lies on a page, if only in part. */
  takePage(page: number): readonly InstalledRegion[] {
    const regions = [...(this.#regionsOfPage.get(page) ?? [])]
    for (const region of regions) this.#drop(region)
    return regions
  }

  /** Takes out what is left of one module, by a share from 0 to 1 of their list; nothing when there is none. */
  takeModule(share: number): readonly InstalledRegion[] {
    if (this.#modules.length === 0) return []
    const regions = [...this.#modules[Math.floor(share * this.#modules.length)].regions]
    for (const region of regions) this.#drop(region)
    return regions
  }

  #drop(region: InstalledRegion): void {
    const module = this.#moduleOf.get(region)
    if (module === undefined) throw new Error('a region is taken out that is not in')
    this.#moduleOf.delete(region)
    for (const page of region.pages) {
      const neighbours = this.#regionsOfPage.get(page)
      neighbours?.delete(region)
      if (neighbours?.size === 0) this.#regionsOfPage.delete(page)
    }
    module.regions.delete(region)
    if (module.regions.size > 0) return
    const last = this.#modules.pop() as InstalledModule
    if (last !== module) {
      this.#modules[module.place] = last
      last.place = module.place
    }
    this.#bytes -= module.bytes
  }
}
