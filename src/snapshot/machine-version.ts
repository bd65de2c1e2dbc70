/**
 * Which machine this is: a digest of the sources that give a state its meaning. A snapshot that is only a shortcut, and
 * can be made again at any time, is used by this very machine or not at all.
 */
import { createHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'

const SOURCES = join(import.meta.dirname, '..')
const MODULES = ['machine', 'wasm', 'snapshot']
/** Tests and what they need give nothing its meaning. */
const TESTS = /\.test\.ts$|\/(testing|isa-test)\//

let known: string | null = null

/** SHA-256 in hexadecimal, as of the first call in this process. */
export function machineVersion(): string {
  known ??= digestOfSources()
  return known
}

function digestOfSources(): string {
  const extension = extname(import.meta.url)
  const files = MODULES.flatMap((module) => globSync(`${module}/**/*${extension}`, { cwd: SOURCES }))
  const hash = createHash('sha256')
  for (const file of files.filter((name) => !TESTS.test(name)).sort()) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(SOURCES, file)))
      .update('\0')
  }
  return hash.digest('hex')
}
