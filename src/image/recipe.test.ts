import { describe, expect, it } from 'vitest'
import { RECIPES } from './build.ts'
import { writeCpio } from './cpio.ts'
import { recipeDigest } from './recipe.ts'
import { tiny } from './recipes/tiny.ts'

describe('recipes', () => {
  it('are told apart by their content alone', () => {
    const same = Object.fromEntries(Object.entries(tiny).reverse()) as unknown as typeof tiny
    expect(recipeDigest(same)).toBe(recipeDigest(tiny))
    expect(recipeDigest({ ...tiny, append: `${tiny.append} debug` })).not.toBe(recipeDigest(tiny))
    expect(recipeDigest({ ...tiny, modules: [...tiny.modules].reverse() })).not.toBe(recipeDigest(tiny))
  })

  it.each([...RECIPES.values()])('$name adds files that fit into one tree, and a first process', (recipe) => {
    const files = new Map(
      Object.entries(recipe.files).map(([path, file]) => [
        path,
        file.kind === 'text'
          ? { kind: 'file' as const, permissions: file.permissions, data: Buffer.from(file.text) }
          : file,
      ]),
    )
    expect(writeCpio(files).length).toBeGreaterThan(0)
    expect(recipe.files.init).toMatchObject({ kind: 'text', permissions: 0o755 })
  })

  it('keep the kernel’s command line below what it reads', () => {
    // COMMAND_LINE_SIZE of RISC-V Linux, NUL included, with room for what a user adds.
    for (const recipe of RECIPES.values()) expect(recipe.append.length).toBeLessThan(1024 - 256)
  })
})
