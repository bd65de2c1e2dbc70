/**
 * The core module: everything of a hart that is fixed for a machine, as one WebAssembly module, and its instance.
 */
import { ModuleBuilder } from '../../wasm/module.ts'
import { defineCacheBlocks } from './cache-block.ts'
import { defineChecksum } from './checksum.ts'
import { defineCodePages, pageOf } from './code-pages.ts'
import { defineCodeTables } from './code-tables.ts'
import { expandCompressed } from './compressed.ts'
import { CoreFunctions, type FunctionSignature, REGION_PARAMS, REGION_RESULTS } from './core-functions.ts'
import { defineCsrs } from './csr.ts'
import { defineFloatLibrary } from './fp/library.ts'
import { defineInterpreter } from './interpreter.ts'
import {
  control,
  FAST_TLB_BASE,
  type Layout,
  layoutFor,
  MODE,
  RAM_START,
  TLB_ALL_BYTES,
  TLB_BASE,
} from './layout.ts'
import { defineWalk } from './page-walk.ts'
import { defineRunLoop } from './run-loop.ts'
import { defineSlowAccess } from './slow-access.ts'
import { defineTlbs } from './tlb.ts'
import { defineTraps } from './traps.ts'

export interface CoreOptions {
  readonly memoryBytes: number
  /** Whether the machine itself is the firmware below S-mode. */
  readonly servesSbi: boolean
  /** Visits to an entry point before it is compiled. */
  readonly hotThreshold: number
  /** A physical address whose every store is reported (`tohost`), or null. */
  readonly watch: number | null
}

/** What the core calls back: accesses to device registers, by physical address, and writes that somebody must see first. */
export interface CoreImports {
  deviceRead(address: number, bytes: number): bigint
  deviceWrite(address: number, bytes: number, value: bigint): void
  /** A page of RAM that is captured is about to be written, by its number. */
  keepPage(page: number): void
}

export interface CoreExports {
  readonly run: (budget: number) => number
  readonly clock: (budgetLeft: number) => bigint
  readonly pending: (budgetLeft: number) => bigint
  readonly flushTlbs: () => void
  readonly flushFastWrites: () => void
  readonly setMode: () => void
  readonly hash: (from: number, to: number) => bigint
  readonly checksum: (address: number, length: number) => number
  readonly dropCode: () => void
  readonly table: WebAssembly.Table
}

export interface Core {
  readonly layout: Layout
  readonly memory: WebAssembly.Memory
  readonly exports: CoreExports
  /** Everything a compiled region imports from the core. */
  readonly functions: WebAssembly.Exports
  /** Floating-point functions that regions may import. */
  readonly floatFunctions: readonly FunctionSignature[]
  /** Number of the page of RAM of which a line is watched, or null. */
  readonly watchedPage: number | null
}

/** Slots of the function table: bounds the compiled entry points that can exist at once. Slot 0 is never used. */
export const FUNCTION_TABLE_SIZE = 65536

/** Hot entry points that are compiled as one module: eight share its fixed cost, and none waits long. */
const COMPILE_BATCH = 8

export function createCore(options: CoreOptions, imports: CoreImports): Core {
  const layout = layoutFor(options.memoryBytes)
  const module = new ModuleBuilder()
  const imported = new Map([
    ['deviceRead', module.importFunction('machine', 'deviceRead', ['i32', 'i32'], ['i64'])],
    ['deviceWrite', module.importFunction('machine', 'deviceWrite', ['i32', 'i32', 'i64'], [])],
    ['keepPage', module.importFunction('machine', 'keepPage', ['i32'], [])],
  ])
  module.importMemory('machine', 'memory', layout.wasmPages, layout.wasmPages)
  module.exportTable('table', FUNCTION_TABLE_SIZE)
  const regionType = module.typeIndex(REGION_PARAMS, REGION_RESULTS)
  const core = new CoreFunctions(module, layout, imported)
  const float = defineFloatLibrary(module)
  core.add(float)
  defineWalk(core)
  defineTlbs(core)
  defineSlowAccess(core)
  defineCacheBlocks(core)
  defineChecksum(core)
  const watch = options.watch === null ? null : options.watch - RAM_START + layout.ram
  defineCodePages(core, watch)
  defineCodeTables(core, watch)
  defineCsrs(core)
  defineTraps(core)
  defineInterpreter(core, {
    servesSbi: options.servesSbi,
    regionType,
    hotThreshold: options.hotThreshold,
  })
  defineRunLoop(core, {
    hotThreshold: options.hotThreshold,
    regionType,
    batch: options.hotThreshold === 1 ? 1 : COMPILE_BATCH,
  })

  const memory = new WebAssembly.Memory({
    initial: layout.wasmPages,
    maximum: layout.wasmPages,
    shared: true,
  })
  const compiled = new WebAssembly.Module(module.finish())
  const instance = new WebAssembly.Instance(compiled, {
    machine: {
      memory,
      deviceRead: (address: number, bytes: number) => imports.deviceRead(address >>> 0, bytes),
      deviceWrite: (address: number, bytes: number, value: bigint) =>
        imports.deviceWrite(address >>> 0, bytes, BigInt.asUintN(64, value)),
      keepPage: (page: number) => imports.keepPage(page),
    },
  })
  fillExpansion(memory, layout)
  const exports = instance.exports as unknown as CoreExports
  for (const base of [FAST_TLB_BASE, TLB_BASE]) new Uint8Array(memory.buffer, base, TLB_ALL_BYTES).fill(EMPTY)
  new Int32Array(memory.buffer)[control.mode / 4] = MODE.machine
  return {
    layout,
    memory,
    exports,
    functions: instance.exports,
    watchedPage: watch === null ? null : pageOf({ layout }, watch),
    floatFunctions: [...float].map(([name, index]) => ({ name, ...module.signatureOf(index) })),
  }
}

/** All ones is no page's tag. */
const EMPTY = 0xff

/** The table that turns each 16-bit instruction into the 32-bit one it stands for. */
function fillExpansion(memory: WebAssembly.Memory, layout: Layout): void {
  const words = new Uint32Array(memory.buffer, layout.expansion, 65536)
  for (let half = 0; half < 65536; half++) if ((half & 3) !== 3) words[half] = expandCompressed(half)
}
