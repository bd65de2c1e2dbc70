import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FdtBlobNode, type FdtNode, findFdtNode, flattenFdt, readFdt } from './fdt.ts'

/** What a value means as bytes, said once more and independently. */
function bytesOf(value: FdtNode['properties'][string]): number[] {
  if (value === true) return []
  if (value instanceof Uint8Array) return [...value]
  const items = typeof value === 'object' ? value : [value]
  return items.flatMap((item) => {
    if (typeof item === 'string') return [...Buffer.from(`${item}\0`)]
    const hex = item.toString(16).padStart(typeof item === 'bigint' ? 16 : 8, '0')
    return [...Buffer.from(hex, 'hex')]
  })
}

function expectSame(blob: FdtBlobNode, node: FdtNode): void {
  expect(blob.name).toBe(node.name)
  expect([...blob.properties].map(([name, bytes]) => [name, [...bytes]])).toEqual(
    Object.entries(node.properties).map(([name, value]) => [name, bytesOf(value)]),
  )
  const children = node.children ?? []
  expect(blob.children).toHaveLength(children.length)
  for (const [index, child] of children.entries()) expectSame(blob.children[index], child)
}

const name = fc.stringMatching(/^[a-z][a-z0-9,-]{0,8}$/)
const cell = fc.nat(0xffff_ffff)
const wide = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
const text = fc.string({ maxLength: 12 }).filter((value) => !value.includes('\0'))
const value = fc.oneof(
  cell,
  wide,
  text,
  fc.constant(true as const),
  fc.uint8Array({ maxLength: 20 }),
  fc.array(fc.oneof(cell, wide, text), { maxLength: 5 }),
)
const { node } = fc.letrec<{ node: FdtNode }>((tie) => ({
  node: fc.record({
    name,
    properties: fc.dictionary(name, value, { maxKeys: 5 }),
    children: fc.oneof(
      { maxDepth: 4 },
      fc.constant([]),
      fc.uniqueArray(tie('node'), { maxLength: 3, selector: (child) => child.name }),
    ),
  }),
}))

describe('flattening', () => {
  test('any tree reads back as it was', () => {
    fc.assert(
      fc.property(
        node,
        fc.array(fc.record({ address: wide, lengthBytes: wide.filter((length) => length > 0n) }), {
          maxLength: 3,
        }),
        cell,
        (tree, reservations, bootCpu) => {
          const root = { ...tree, name: '' }
          const blob = readFdt(flattenFdt(root, reservations, bootCpu))
          expectSame(blob.root, root)
          expect(blob.reservations).toEqual(reservations)
          expect(blob.bootCpu).toBe(bootCpu)
        },
      ),
    )
  })

  test('the header is that of version 17, and each name is there once', () => {
    const blob = flattenFdt({
      name: '',
      properties: { 'interrupt-parent': 1, parent: 2 },
      children: [{ name: 'a', properties: { parent: 3 } }],
    })
    const view = new DataView(blob.buffer)
    expect(view.getUint32(0)).toBe(0xd00dfeed)
    expect(view.getUint32(4)).toBe(blob.length)
    expect(view.getUint32(20)).toBe(17)
    expect(view.getUint32(24)).toBe(16)
    expect(view.getUint32(16) % 8).toBe(0)
    expect(view.getUint32(8) % 4).toBe(0)
    const strings = blob.subarray(view.getUint32(12), view.getUint32(12) + view.getUint32(32))
    expect(new TextDecoder().decode(strings)).toBe('interrupt-parent\0')
  })

  test('the same tree gives the same bytes', () => {
    const tree = { name: '', properties: { a: [1, 2n, 'x'] } }
    expect(flattenFdt(tree)).toEqual(flattenFdt(structuredClone(tree)))
  })

  const deep = (levels: number): FdtNode => ({
    name: 'n',
    properties: {},
    children: levels === 0 ? [] : [deep(levels - 1)],
  })
  const unsound: readonly [string, FdtNode][] = [
    ['a named root', { name: 'root', properties: {} }],
    ['a cell that is negative', { name: '', properties: { a: -1 } }],
    ['a cell over 32 bits', { name: '', properties: { a: 2 ** 32 } }],
    ['a fraction', { name: '', properties: { a: [0.5] } }],
    ['a number over 64 bits', { name: '', properties: { a: 1n << 64n } }],
    ['a string with NUL', { name: '', properties: { a: 'x\0y' } }],
    ['a property without a name', { name: '', properties: { '': 1 } }],
    ['a node name with a slash', { name: '', properties: {}, children: [{ name: 'a/b', properties: {} }] }],
    [
      'twins',
      {
        name: '',
        properties: {},
        children: [
          { name: 'a', properties: {} },
          { name: 'a', properties: {} },
        ],
      },
    ],
    ['too many levels', { ...deep(40), name: '' }],
    ['too many bytes', { name: '', properties: { a: new Uint8Array(1024 * 1024) } }],
  ]
  for (const [what, tree] of unsound)
    test(`refuses ${what}`, () => {
      expect(() => flattenFdt(tree)).toThrow(expect.objectContaining({ code: 'FDT_VALUE' }))
    })
})

describe('reading', () => {
  const sound = flattenFdt(
    { name: '', properties: { a: 'x' }, children: [{ name: 'b', properties: { c: [1, 2] } }] },
    [{ address: 1n, lengthBytes: 2n }],
  )

  test('finds nodes by path', () => {
    const { root } = readFdt(sound)
    expect(findFdtNode(root, '/b')?.properties.get('c')).toEqual(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2))
    expect(findFdtNode(root, '/')).toBe(root)
    expect(findFdtNode(root, '/b/c')).toBeNull()
  })

  test('a blob cut anywhere is refused', () => {
    for (let length = 0; length < sound.length; length++)
      expect(() => readFdt(sound.subarray(0, length))).toThrow(expect.objectContaining({ code: 'FDT_BLOB' }))
  })

  test('a damaged blob is refused or read, never worse', () => {
    fc.assert(
      fc.property(
        fc.nat(sound.length - 1),
        fc.nat(255),
        fc.nat(sound.length - 1),
        fc.nat(255),
        (first, one, second, other) => {
          const damaged = sound.slice()
          damaged[first] = one
          damaged[second] = other
          try {
            readFdt(damaged)
          } catch (error) {
            expect(error).toMatchObject({ code: 'FDT_BLOB' })
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})
