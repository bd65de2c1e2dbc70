/** Whether partitions can be tested here, and by which seed. */
import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { namespacesUnavailable } from './namespaces.ts'

const SEED_MAX = 2 ** 32

/** Why they cannot; null when they can. */
export async function partitionsUnavailable(): Promise<string | null> {
  const directories = (process.env.PATH ?? '').split(delimiter)
  if (!directories.some((directory) => existsSync(join(directory, 'passt'))))
    return 'passt is not on the PATH'
  return namespacesUnavailable()
}

/** UNDERSTUDY_SEED, or another one each time. Throws a RangeError at what is no seed. */
export function partitionSeed(asked: string | undefined = process.env.UNDERSTUDY_SEED): number {
  if (asked === undefined || asked === '') return randomInt(SEED_MAX)
  const seed = Number(asked)
  if (!Number.isInteger(seed) || seed < 0 || seed >= SEED_MAX) throw new RangeError(`no seed: ${asked}`)
  return seed
}
