/** The test-and-set of `src/ft` on the shared store. */
import type { TestAndSetOutcome } from '../ft/messages.ts'
import type { Store } from '../store/store.ts'

/** The key whose creation decides who is live in a generation. */
export function generationKey(vm: string, generation: number): string {
  return `vm/${vm}/generation/${generation}`
}

/**
 * Tries to make `winner` the live replica of a generation. Safe to repeat: an attempt whose answer was lost finds
 * its own name. Never rejects.
 */
export async function testAndSet(
  store: Store,
  vm: string,
  generation: number,
  winner: string,
): Promise<TestAndSetOutcome> {
  try {
    const result = await store.createIfAbsent(generationKey(vm, generation), Buffer.from(winner))
    if (result.created) return 'won'
    return Buffer.from(result.existing.value).toString() === winner ? 'won' : 'lost'
  } catch {
    return 'unreachable'
  }
}
