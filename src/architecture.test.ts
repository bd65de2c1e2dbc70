/**
 * Imports point one way. This test reads them all and holds the graph; `docs/architecture.md` draws it.
 *
 * The modules in PURE are functions of their arguments: time and I/O are handed to them. So they run the same in
 * production, in the simulator and in a replay, and must reach for no clock, socket, file or random number.
 */
import { globSync, readFileSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { describe, expect, it } from 'vitest'

const SRC = import.meta.dirname

/** What each module may import besides itself and `errors.ts`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  wasm: [],
  machine: ['wasm'],
  replay: ['machine'],
  compiler: ['machine'],
  snapshot: ['machine', 'replay'],
  ft: [],
  redundancy: [],
  sim: ['ft', 'redundancy'],
  security: [],
  net: ['security'],
  store: [],
  storage: [],
  image: [],
  control: ['security'],
  replica: [
    'machine',
    'compiler',
    'replay',
    'snapshot',
    'ft',
    'net',
    'store',
    'storage',
    'control',
    'security',
  ],
  cluster: [
    'redundancy',
    'machine',
    'compiler',
    'replay',
    'snapshot',
    'replica',
    'net',
    'store',
    'storage',
    'image',
    'control',
    'security',
  ],
  api: ['cluster', 'control', 'security'],
  cli: [
    'machine',
    'compiler',
    'replay',
    'snapshot',
    'net',
    'storage',
    'store',
    'image',
    'control',
    'replica',
    'cluster',
    'api',
    'security',
  ],
}

const PURE = ['wasm', 'machine', 'ft', 'redundancy']

/** Computation only; these read nothing from outside. */
const PURE_PACKAGES = new Set(['node:zlib', 'node:assert', 'node:assert/strict'])

/** Of a package that also has what is not computation: the only names that may be imported. */
const PURE_NAMES: Readonly<Record<string, readonly string[]>> = {
  'node:crypto': ['createHmac', 'timingSafeEqual'],
}

/** Sources of time, chance and scheduling that need no import. */
const IMPURE_GLOBALS =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|crypto\.getRandomValues|setTimeout|setInterval|setImmediate|queueMicrotask|process\.(hrtime|env|argv|nextTick))\b/

interface SourceFile {
  /** Relative to src. */
  readonly path: string
  readonly module: string
  readonly isTest: boolean
  readonly text: string
}

interface Import {
  readonly from: SourceFile
  readonly specifier: string
  /** The module imported, '' for a file of src itself; null for a package or anything outside src. */
  readonly module: string | null
}

/** Comments are dropped, keeping strings whole, so that an example in one is no import. */
function withoutComments(text: string): string {
  const token = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g
  return text.replace(token, (match) => (match.startsWith('/*') || match.startsWith('//') ? ' ' : match))
}

function sources(): SourceFile[] {
  return globSync('**/*.ts', { cwd: SRC }).map((path) => {
    const parts = path.split(sep)
    const isTest = /\.test\.ts$|-cases\.ts$|-contest\.ts$/.test(path) || parts.includes('testing')
    return {
      path,
      module: parts.length > 1 ? parts[0]! : '',
      isTest,
      text: withoutComments(readFileSync(join(SRC, path), 'utf8')),
    }
  })
}

/** Static imports, re-exports, dynamic imports, and files named for a worker or a child process. */
const SPECIFIERS = [
  /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  /^\s*import\s*['"]([^'"]+)['"]/gm,
  /\bimport\(\s*['"]([^'"]+)['"]/g,
  /\bnew URL\(\s*['"](\.[^'"]+)['"]\s*,\s*import\.meta\.url/g,
]

function importsOf(file: SourceFile): Import[] {
  const specifiers = SPECIFIERS.flatMap((pattern) =>
    [...file.text.matchAll(pattern)].map((match) => match[1]!),
  )
  return specifiers.map((specifier) => ({ from: file, specifier, module: moduleOf(file, specifier) }))
}

function moduleOf(file: SourceFile, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null
  const path = relative(SRC, resolve(SRC, file.path, '..', specifier))
  if (path.startsWith('..')) return null
  const parts = path.split(sep)
  return parts.length > 1 ? parts[0]! : ''
}

/** Every import of this package in the file names what it takes, and takes nothing but these. */
function importsOnly({ text }: SourceFile, specifier: string, allowed: readonly string[]): boolean {
  const named = [...text.matchAll(/\bimport\s*\{([^}]*)\}\s*from\s*['"]([^'"]+)['"]/g)].filter(
    (match) => match[2] === specifier,
  )
  const names = named.flatMap((match) => match[1]!.split(',').map((name) => name.trim()))
  const mentions = text.split(specifier).length - 1
  return (
    mentions === named.length && names.filter((name) => name !== '').every((name) => allowed.includes(name))
  )
}

function show({ from, specifier }: Import): string {
  return `${from.path} imports ${specifier}`
}

const files = sources()
const imports = files.flatMap(importsOf)

describe('the architecture', () => {
  it('is read at all: every module is known, and the seams that must be there are found', () => {
    const modules = new Set(files.map(({ module }) => module).filter((module) => module !== ''))
    expect([...modules].filter((module) => !(module in MAY_IMPORT))).toEqual([])
    const edges = new Set(imports.map(({ from, module }) => `${from.module} -> ${module}`))
    for (const edge of ['machine -> wasm', 'replay -> machine', 'sim -> ft', 'sim -> redundancy'])
      expect(edges).toContain(edge)
  })

  it('has a graph without cycles', () => {
    const order: string[] = []
    const visit = (module: string, path: readonly string[]): void => {
      expect(path).not.toContain(module)
      if (order.includes(module)) return
      for (const below of MAY_IMPORT[module]!) visit(below, [...path, module])
      order.push(module)
    }
    for (const module of Object.keys(MAY_IMPORT)) visit(module, [])
    expect(order.length).toBe(Object.keys(MAY_IMPORT).length)
  })

  it('lets each module import only what lies below it', () => {
    const wrong = imports.filter(({ from, specifier, module }) => {
      if (module === null || module === from.module) return false
      if (module === '') return !specifier.endsWith('/errors.ts')
      // A test may put its module together with any other: nothing depends on a test.
      return !from.isTest && !MAY_IMPORT[from.module]?.includes(module)
    })
    expect(wrong.map(show)).toEqual([])
  })

  it('keeps code that runs from importing tests', () => {
    const tests = new Set(files.filter(({ isTest }) => isTest).map(({ path }) => path))
    const wrong = imports.filter(({ from, specifier }) => {
      if (from.isTest || !specifier.startsWith('.')) return false
      const path = relative(SRC, resolve(SRC, from.path, '..', specifier))
      return tests.has(path) || path.startsWith('..')
    })
    // A compiled package leaves the project's own package.json two levels up, and nothing else.
    expect(wrong.filter(({ specifier }) => !specifier.endsWith('package.json')).map(show)).toEqual([])
  })

  it('keeps clocks, sockets, files and chance out of what must be a pure function', () => {
    const pure = files.filter(({ module, isTest }) => PURE.includes(module) && !isTest)
    expect(pure.length).toBeGreaterThan(10)
    const packages = imports.filter(
      ({ from, specifier }) =>
        pure.includes(from) &&
        !specifier.startsWith('.') &&
        !PURE_PACKAGES.has(specifier) &&
        !importsOnly(from, specifier, PURE_NAMES[specifier] ?? []),
    )
    expect(packages.map(show)).toEqual([])
    expect(pure.filter(({ text }) => IMPURE_GLOBALS.test(text)).map(({ path }) => path)).toEqual([])
  })

  it('has neither default exports nor files that only pass others on', () => {
    const barrel = (text: string) => /^\s*export\s*\*/m.test(text)
    const hasDefault = (text: string) => /^\s*export\s+default\b/m.test(text)
    expect(files.filter(({ text }) => barrel(text) || hasDefault(text)).map(({ path }) => path)).toEqual([])
  })

  it('has no file whose name says nothing', () => {
    const vague = /(^|[/-])(utils?|helpers?|common|misc|shared)([-./]|$)/
    expect(files.filter(({ path }) => vague.test(path)).map(({ path }) => path)).toEqual([])
  })
})
