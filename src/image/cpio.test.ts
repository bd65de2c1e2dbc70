import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type RootNode, writeCpio } from './cpio.ts'
import { ImageError } from './errors.ts'
import { readCpio } from './testing/cpio-reader.ts'

const NAME = fc.stringMatching(/^[a-zé][a-z0-9.é-]{0,6}$/)
const PERMISSIONS = fc.integer({ min: 0, max: 0o7777 })
const NODE: fc.Arbitrary<RootNode> = fc.oneof(
  fc.record({
    kind: fc.constant('file' as const),
    permissions: PERMISSIONS,
    data: fc.uint8Array({ maxLength: 70 }),
  }),
  fc.record({ kind: fc.constant('symlink' as const), target: fc.stringMatching(/^[a-z./]{1,20}$/) }),
  fc.record({
    kind: fc.constant('character-device' as const),
    permissions: PERMISSIONS,
    major: fc.integer({ min: 0, max: 4095 }),
    minor: fc.integer({ min: 0, max: 0xfffff }),
  }),
)
/** Nodes only at the leaves of directories that no node is named like. */
const TREE = fc
  .array(
    fc.tuple(
      fc.array(
        NAME.map((name) => `d${name}`),
        { maxLength: 3 },
      ),
      NAME.map((name) => `n${name}`),
      NODE,
    ),
    { maxLength: 12 },
  )
  .map(
    (entries) =>
      new Map(entries.map(([directories, name, node]) => [[...directories, name].join('/'), node])),
  )

const FILE_TYPE = { directory: 0o040000, file: 0o100000, symlink: 0o120000, 'character-device': 0o020000 }

describe('the archive of a root file system', () => {
  it('holds every node under its path, with its type, permissions and content', () => {
    fc.assert(
      fc.property(TREE, (tree) => {
        const entries = new Map(readCpio(writeCpio(tree)).map((entry) => [entry.name, entry]))
        for (const [path, node] of tree) {
          const entry = entries.get(path)!
          expect(entry.mode & 0o170000).toBe(FILE_TYPE[node.kind])
          if (node.kind !== 'symlink') expect(entry.mode & 0o7777).toBe(node.permissions)
          if (node.kind === 'file') expect(entry.data).toEqual(Buffer.from(node.data))
          if (node.kind === 'symlink') expect(entry.data.toString()).toBe(node.target)
          if (node.kind === 'character-device') expect(entry.rdev).toEqual([node.major, node.minor])
        }
      }),
    )
  })

  it('names every directory before what lies in it, and nothing twice', () => {
    fc.assert(
      fc.property(TREE, (tree) => {
        const seen = new Set<string>()
        for (const { name, mode } of readCpio(writeCpio(tree))) {
          const parent = name.slice(0, Math.max(0, name.lastIndexOf('/')))
          expect(parent === '' || seen.has(parent)).toBe(true)
          expect(seen.has(name)).toBe(false)
          seen.add(name)
          if (!tree.has(name)) expect(mode).toBe(0o040755)
        }
      }),
    )
  })

  it('is the same bytes for the same tree, in whatever order it was put together, and tells nothing of the host', () => {
    fc.assert(
      fc.property(TREE, (tree) => {
        const reversed = new Map([...tree].reverse())
        expect(writeCpio(reversed)).toEqual(writeCpio(tree))
        for (const entry of readCpio(writeCpio(tree))) expect([entry.uid, entry.mtime]).toEqual([0, 0])
      }),
    )
  })

  it.each(['', '/a', 'a/', 'a//b', '../a', 'a/./b', 'a\0b', 'x'.repeat(4096)])(
    'refuses the path %j',
    (path) => {
      const tree = new Map([[path, { kind: 'directory', permissions: 0o755 } as const]])
      expect(() => writeCpio(tree)).toThrow(ImageError)
    },
  )

  it('refuses a path below something that is no directory', () => {
    const tree = new Map<string, RootNode>([
      ['bin', { kind: 'symlink', target: 'usr/bin' }],
      ['bin/sh', { kind: 'symlink', target: 'busybox' }],
    ])
    expect(() => writeCpio(tree)).toThrow(expect.objectContaining({ code: 'IMAGE_TREE_INVALID' }))
  })
})
