import { ByteWriter } from './bytes.ts'
import type { ValueType } from './expr.ts'
import { FunctionBuilder, TYPE_CODES } from './function.ts'

interface FunctionType {
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}

interface Import {
  readonly module: string
  readonly name: string
  readonly write: (out: ByteWriter) => void
}

/**
 * Assembles a module in the WebAssembly binary format: imported memory, imported and own functions, at most one
 * table of functions. Function indices are fixed at declaration, so bodies may call what is defined later.
 */
export class ModuleBuilder {
  readonly #types: FunctionType[] = []
  readonly #typeKeys = new Map<string, number>()
  readonly #functionImports: Import[] = []
  readonly #otherImports: Import[] = []
  readonly #functions: { typeIndex: number; builder: FunctionBuilder }[] = []
  readonly #exports: { name: string; kind: number; index: number }[] = []
  #table: { minimum: number } | null = null
  #sealedImports = false

  typeIndex(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params.join()}:${results.join()}`
    const known = this.#typeKeys.get(key)
    if (known !== undefined) return known
    this.#types.push({ params, results })
    this.#typeKeys.set(key, this.#types.length - 1)
    return this.#types.length - 1
  }

  /** Returns the function's index. All function imports come before the first own function. */
  importFunction(
    module: string,
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
  ): number {
    if (this.#sealedImports) throw new Error('function imports must precede own functions')
    const typeIndex = this.typeIndex(params, results)
    this.#functionImports.push({
      module,
      name,
      write: (out) => {
        out.u8(0x00)
        out.u32(typeIndex)
      },
    })
    return this.#functionImports.length - 1
  }

  /** Shared memories need a maximum. */
  importMemory(module: string, name: string, minimumPages: number, maximumPages: number): void {
    this.#otherImports.push({
      module,
      name,
      write: (out) => {
        out.u8(0x02)
        out.u8(0x03)
        out.u32(minimumPages)
        out.u32(maximumPages)
      },
    })
  }

  /** An own table of functions, exported under `name`. */
  exportTable(name: string, minimum: number): void {
    this.#table = { minimum }
    this.#exports.push({ name, kind: 1, index: 0 })
  }

  /** Declares an own function; build its body at any time before `finish`. */
  function(
    params: readonly ValueType[],
    results: readonly ValueType[],
    exportName?: string,
  ): { index: number; body: FunctionBuilder } {
    this.#sealedImports = true
    const body = new FunctionBuilder(params, results)
    const index = this.#functionImports.length + this.#functions.length
    this.#functions.push({ typeIndex: this.typeIndex(params, results), builder: body })
    if (exportName !== undefined) this.#exports.push({ name: exportName, kind: 0, index })
    return { index, body }
  }

  /** The type of an own function. */
  signatureOf(index: number): { params: readonly ValueType[]; results: readonly ValueType[] } {
    return this.#types[this.#functions[index - this.#functionImports.length].typeIndex]
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter(4096)
    out.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00))
    section(out, 1, (s) => {
      s.u32(this.#types.length)
      for (const type of this.#types) {
        s.u8(0x60)
        s.u32(type.params.length)
        for (const p of type.params) s.u8(TYPE_CODES[p])
        s.u32(type.results.length)
        for (const r of type.results) s.u8(TYPE_CODES[r])
      }
    })
    const imports = [...this.#functionImports, ...this.#otherImports]
    section(out, 2, (s) => {
      s.u32(imports.length)
      for (const i of imports) {
        s.name(i.module)
        s.name(i.name)
        i.write(s)
      }
    })
    section(out, 3, (s) => {
      s.u32(this.#functions.length)
      for (const f of this.#functions) s.u32(f.typeIndex)
    })
    const table = this.#table
    if (table !== null) {
      section(out, 4, (s) => {
        s.u32(1)
        s.u8(0x70)
        s.u8(0x00)
        s.u32(table.minimum)
      })
    }
    section(out, 7, (s) => {
      s.u32(this.#exports.length)
      for (const e of this.#exports) {
        s.name(e.name)
        s.u8(e.kind)
        s.u32(e.index)
      }
    })
    const finished = this.#functions.map((f) => f.builder.finish())
    this.#branchHints(out, finished)
    section(out, 10, (s) => {
      s.u32(finished.length)
      for (const f of finished) {
        s.u32(f.body.length)
        s.bytes(f.body)
      }
    })
    return out.view().slice() as Uint8Array<ArrayBuffer>
  }

  /** Branch hints, a custom section before the code section (WebAssembly branch hinting proposal). */
  #branchHints(out: ByteWriter, finished: readonly { hints: { offset: number; likely: boolean }[] }[]): void {
    const hinted = finished
      .map((f, i) => ({ index: this.#functionImports.length + i, hints: f.hints }))
      .filter((f) => f.hints.length > 0)
    if (hinted.length === 0) return
    section(out, 0, (s) => {
      s.name('metadata.code.branch_hint')
      s.u32(hinted.length)
      for (const f of hinted) {
        s.u32(f.index)
        s.u32(f.hints.length)
        for (const h of f.hints) {
          s.u32(h.offset)
          s.u32(1)
          s.u8(h.likely ? 1 : 0)
        }
      }
    })
  }
}

function section(out: ByteWriter, id: number, write: (s: ByteWriter) => void): void {
  const content = new ByteWriter(1024)
  write(content)
  out.u8(id)
  out.u32(content.length)
  out.bytes(content.view())
}
