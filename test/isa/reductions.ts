/** Smaller programs to try when one fails. */
import type { Item, Program } from './program.ts'

/** Every list of items that is one step smaller; big steps (halves) first. */
export function reductions(items: readonly Item[]): Item[][] {
  const out: Item[][] = []
  for (let chunk = items.length >> 1; chunk >= 1; chunk >>= 1) {
    for (let start = 0; start + chunk <= items.length; start += chunk) out.push(items.toSpliced(start, chunk))
  }
  items.forEach((item, n) => {
    if (item.kind === 'run') {
      if (item.instructions.length > 1) {
        item.instructions.forEach((_, i) => {
          // Dropping the computation of an address or of a status would send the program astray.
          if (i < item.instructions.length - 1 && !isPlain(item)) return
          out.push(items.with(n, { kind: 'run', instructions: item.instructions.toSpliced(i, 1) }))
        })
      }
      return
    }
    if (item.kind === 'word') return
    out.push(items.toSpliced(n, 1, ...item.items))
    for (const inside of reductions(item.items)) out.push(items.with(n, { ...item, items: inside }))
  })
  return out
}

export function isPlain(item: Item & { kind: 'run' }): boolean {
  const special = /^(c\.)?f?[ls]([bhwd]u?)(sp)?$|^(lr|sc|amo)|^jalr$|^ecall$|^csr|^sfence/
  return !item.instructions.some(({ mnemonic }) => special.test(mnemonic))
}

/**
 * Drops whatever can be dropped while `differs` holds, one candidate after the other, for programs that fill an
 * image of their own. At most `attemptsMax` candidates are tried. A candidate that throws counts as no failure.
 */
export async function shrinkOneByOne(
  failing: Program,
  differs: (candidate: Program) => Promise<boolean>,
  attemptsMax: number,
): Promise<Program> {
  let best = failing
  let attempts = 0
  for (let progress = true; progress; ) {
    progress = false
    for (const items of reductions(best.items)) {
      if (attempts++ >= attemptsMax) return best
      const candidate = { ...best, items }
      const smaller = await differs(candidate).catch(() => false)
      if (!smaller) continue
      best = candidate
      progress = true
      break
    }
  }
  return best
}
