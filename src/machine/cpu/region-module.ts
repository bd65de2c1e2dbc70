/**
 * From copies of guest pages to one compiled module with a function for each entry point asked for. Needs nothing
 * of the running machine but facts that never change, so it runs in any thread.
 */
import { ModuleBuilder } from '../../wasm/module.ts'
import { coreSignatures, type FunctionSignature, REGION_PARAMS, REGION_RESULTS } from './core-functions.ts'
import { type GuestCode, inPage, pageOf } from './guest-code.ts'
import { CODE_LINE_BYTES, type Layout, PAGE_BYTES } from './layout.ts'
import { emitRegion } from './region-emitter.ts'
import { type Block, findRegion } from './region-graph.ts'
import type { RegionPage } from './region-operands.ts'

/** Functions of the core that any region may call. */
const CORE_IMPORTS = [
  'dispatch',
  'loadSlow',
  'storeSlow',
  'zeroSlow',
  'readCsr',
  'writeCsr',
  'trap',
  'returnFromSupervisor',
  'fence',
] as const

/** What compiling depends on besides the request: fixed for a machine. */
export interface RegionTarget {
  readonly layout: Layout
  /** Floating-point functions of the core that regions may import. */
  readonly floatFunctions: readonly FunctionSignature[]
}

/** An entry point, told apart by where its code lies and how that is translated. */
export interface RegionPlace {
  /** Number of the page of RAM. */
  readonly page: number
  /** Byte offset of the entry point in it. */
  readonly offset: number
  /** Translation mode its code runs in. */
  readonly mode: number
}

/** An entry point to compile, with all that is known of it. */
export interface RegionRequest extends RegionPlace {
  readonly code: GuestCode
}

/** What a region holds of a page. */
export interface CompiledPage {
  /** Number of the page of RAM. */
  readonly page: number
  /** A bit for each line of the page that holds an instruction of the region. */
  readonly lines: bigint
  /** The bytes of these lines when they were compiled, one line after the other. */
  readonly code: Uint8Array<ArrayBuffer>
}

/** What became of a request. */
export interface CompiledRegion extends RegionPlace {
  /** Every page that holds some of it, its own first. */
  readonly pages: readonly CompiledPage[]
  /** The name under which the module exports it. */
  readonly name: string
}

export interface CompiledModule {
  readonly module: WebAssembly.Module
  /** Length of its WebAssembly. */
  readonly bytes: number
  readonly regions: readonly CompiledRegion[]
}

/** Compiles what of the requests can be compiled; null when that is nothing. */
export function compileRegions(
  target: RegionTarget,
  requests: readonly RegionRequest[],
): CompiledModule | null {
  const found = requests.flatMap((request) => {
    const blocks = findRegion(request.code, request.offset)
    return blocks.length === 0 ? [] : [{ request, blocks }]
  })
  if (found.length === 0) return null
  const builder = new ModuleBuilder()
  const library = importCore(
    builder,
    target,
    found.some(({ blocks }) => usesFloat(blocks)),
  )
  const regions = found.map(({ request, blocks }, i): CompiledRegion => {
    const { page, offset, mode, code } = request
    const lines = linesOf(blocks)
    const { layout } = target
    const pages = new Map<number, RegionPage>()
    for (const [distance, mask] of lines) {
      const source = code.source(distance)
      pages.set(distance, { page: source.page, address: layout.ram + source.page * PAGE_BYTES, lines: mask })
    }
    const name = `r${i}`
    const { body } = builder.function(REGION_PARAMS, REGION_RESULTS, name)
    emitRegion(body, { library, layout, mode, pages }, blocks)
    const compiled = [...lines].map(([distance, mask]): CompiledPage => {
      const source = code.source(distance)
      return { page: source.page, lines: mask, code: bytesOfLines(source.code, mask) }
    })
    return { page, offset, mode, pages: compiled, name }
  })
  const wasm = builder.finish()
  return { module: new WebAssembly.Module(wasm), bytes: wasm.length, regions }
}

function importCore(
  builder: ModuleBuilder,
  target: RegionTarget,
  float: boolean,
): { functionIndex(name: string): number } {
  const indices = new Map<string, number>()
  for (const name of CORE_IMPORTS) {
    const [params, results] = coreSignatures[name]
    indices.set(name, builder.importFunction('core', name, params, results))
  }
  if (float) {
    for (const { name, params, results } of target.floatFunctions) {
      indices.set(name, builder.importFunction('core', name, params, results))
    }
  }
  const { wasmPages } = target.layout
  builder.importMemory('core', 'memory', wasmPages, wasmPages)
  return {
    functionIndex: (name) => {
      const index = indices.get(name)
      if (index === undefined) throw new Error(`regions do not import '${name}'`)
      return index
    },
  }
}

function usesFloat(blocks: readonly Block[]): boolean {
  return blocks.some((b) => b.instructions.some((i) => i.instruction.uses.includes('float')))
}

/** Offsets in a page of the lines whose bits are set, ascending. */
export function offsetsOfLines(lines: bigint): number[] {
  const offsets: number[] = []
  for (let at = 0; at < PAGE_BYTES; at += CODE_LINE_BYTES)
    if ((lines >> BigInt(at / CODE_LINE_BYTES)) & 1n) offsets.push(at)
  return offsets
}

function bytesOfLines(page: Uint8Array, lines: bigint): Uint8Array<ArrayBuffer> {
  const offsets = offsetsOfLines(lines)
  const bytes = new Uint8Array(offsets.length * CODE_LINE_BYTES)
  offsets.forEach((at, i) => {
    bytes.set(page.subarray(at, at + CODE_LINE_BYTES), i * CODE_LINE_BYTES)
  })
  return bytes
}

/** For each page that holds instructions of the blocks, counted from the entry's, a bit for each line with some. */
function linesOf(blocks: readonly Block[]): ReadonlyMap<number, bigint> {
  const lines = new Map<number, bigint>()
  const mark = (offset: number): void => {
    const line = 1n << BigInt(Math.floor(inPage(offset) / CODE_LINE_BYTES))
    lines.set(pageOf(offset), (lines.get(pageOf(offset)) ?? 0n) | line)
  }
  for (const block of blocks) {
    // Instructions of a block lie one behind the other: its first and last byte, and a byte in each line between.
    const last = block.instructions.at(-1)
    if (last === undefined) continue
    for (let at = block.offset; at < last.offset + last.length; at += CODE_LINE_BYTES) mark(at)
    mark(last.offset + last.length - 1)
  }
  return lines
}
