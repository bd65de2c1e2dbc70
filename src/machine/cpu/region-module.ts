/**
 * From copies of guest pages to one compiled module with a function for each entry point asked for. Needs nothing
 * of the running machine but facts that never change, so it runs in any thread.
 */
import { ModuleBuilder } from '../../wasm/module.ts'
import { Arrivals } from './arrivals.ts'
import { coreSignatures, type FunctionSignature, REGION_PARAMS, REGION_RESULTS } from './core-functions.ts'
import { CODE_LINE_BYTES, type Layout, PAGE_BYTES } from './layout.ts'
import { emitRegion } from './region-emitter.ts'
import { type Block, findRegion } from './region-graph.ts'

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
  /** The page's bytes. */
  readonly code: Uint8Array<ArrayBuffer>
  /** Its code table: for each halfword a slot (positive), or less the number of visits. */
  readonly heat: Int32Array<ArrayBuffer>
}

/** What became of a request. */
export interface CompiledRegion extends RegionPlace {
  /** The bytes that were compiled. */
  readonly code: Uint8Array<ArrayBuffer>
  /** A bit for each line of the page that holds an instruction of the region. */
  readonly lines: bigint
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
    const page = new DataView(request.code.buffer, request.code.byteOffset, PAGE_BYTES)
    const blocks = findRegion(page, request.offset, new Arrivals(request.heat, request.offset))
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
    const name = `r${i}`
    const { body } = builder.function(REGION_PARAMS, REGION_RESULTS, name)
    const { layout } = target
    emitRegion(body, { library, layout, mode, pageAddress: layout.ram + page * PAGE_BYTES }, blocks)
    return { page, offset, mode, code, lines: linesOf(blocks), name }
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

/** The code mask of a page: a bit for each line that holds an instruction. */
function linesOf(blocks: readonly Block[]): bigint {
  let low = 0
  let high = 0
  const mark = (line: number): void => {
    if (line < 32) low |= 1 << line
    else high |= 1 << (line - 32)
  }
  for (const block of blocks) {
    for (const one of block.instructions) {
      mark(Math.floor(one.offset / CODE_LINE_BYTES))
      mark(Math.floor((one.offset + one.length - 1) / CODE_LINE_BYTES))
    }
  }
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n)
}
