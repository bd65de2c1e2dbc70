import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { tidy } from './boot-snapshot.ts'

const HOUR_MS = 3_600_000
const NOW_MS = 1_800_000_000_000

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'boot-snapshots-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function file(name: string, ageMs: number): void {
  const path = join(directory, name)
  writeFileSync(path, '')
  utimesSync(path, (NOW_MS - ageMs) / 1000, (NOW_MS - ageMs) / 1000)
}

describe('tidying the snapshots', () => {
  it('keeps those used last', () => {
    for (let age = 0; age < 20; age++) file(`${age}.snapshot`, age * HOUR_MS)
    tidy(directory, NOW_MS)
    expect(readdirSync(directory).sort()).toEqual([0, 1, 2, 3, 4, 5, 6].map((age) => `${age}.snapshot`))
  })

  it('leaves what is being written, and removes what was left behind', () => {
    file('a.snapshot.12.new', HOUR_MS / 2)
    file('b.snapshot.34.new', 2 * HOUR_MS)
    file('c.failed', HOUR_MS / 2)
    file('d.failed', 2 * HOUR_MS)
    tidy(directory, NOW_MS)
    expect(readdirSync(directory).sort()).toEqual(['a.snapshot.12.new', 'c.failed'])
  })
})
