/** What the pages for readers name must be there: files, pages they link to, and verbs of the command line. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const PAGES = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/*.md', { cwd: ROOT })]

/** A path in backticks, from the top of the repository; patterns and placeholders are none. */
const NAMED_PATH = /`((?:src|test|bench|setup|bin|docs)\/[\w./-]*)`/g
const LINK = /\]\((?!https?:)([^)#\s]+)/g
/** `understudy ps`, and `understudy machine run`; what follows in capitals or with dashes is an argument. */
const NAMED_VERB = /\bunderstudy ((?:machine |image |host |cluster )?[a-z]+)/g
const DEFINED_VERB = /\.command\('([a-z]+)'\)/g

const text = (page: string) => readFileSync(join(ROOT, page), 'utf8')
const found = (page: string, pattern: RegExp) => [...text(page).matchAll(pattern)].map((match) => match[1])

describe.each(PAGES)('%s', (page) => {
  it('names files that exist', () => {
    const missing = found(page, NAMED_PATH).filter((path) => !existsSync(join(ROOT, path)))
    expect(missing).toEqual([])
  })

  it('links to pages that exist', () => {
    const missing = found(page, LINK).filter((link) => !existsSync(join(ROOT, dirname(page), link)))
    expect(missing).toEqual([])
  })
})

it('finds paths in pages at all', () => {
  expect(found('docs/architecture.md', NAMED_PATH).length).toBeGreaterThan(50)
})

describe('the README', () => {
  const defined = globSync('src/cli/*.ts', { cwd: ROOT }).flatMap((file) => found(file, DEFINED_VERB))
  const named = found('README.md', NAMED_VERB).map((verb) => verb.split(' '))

  it('names verbs that exist', () => {
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter((words) => !words.every((word) => defined.includes(word)))).toEqual([])
  })

  it('names every verb', () => {
    const words = new Set(named.flat())
    expect(defined.filter((verb) => !words.has(verb))).toEqual([])
  })
})
