/** States that vectors start from. */
import type { State } from './cases.ts'
import { nastyFloat, nastyInteger, Random } from './random.ts'

/** A generator of its own for each group, so that adding a group changes no other. */
export function randomFor(name: string): Random {
  let hash = 0x811c9dc5
  for (const character of name) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  return new Random(hash >>> 0)
}

const MODES = 5

/** Random contents everywhere, flags clear in half of the states. */
export function randomState(random: Random): State {
  return {
    x10: nastyInteger(random),
    x11: nastyInteger(random),
    x12: nastyInteger(random),
    f10: nastyFloat(random),
    f11: nastyFloat(random),
    f12: nastyFloat(random),
    f13: nastyFloat(random),
    fcsr: (random.below(MODES) << 5) | (random.chance(50) ? 0 : random.below(32)),
    memory: Uint8Array.from({ length: 32 }, () => random.below(256)),
  }
}
