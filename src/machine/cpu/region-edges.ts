/** Where the ends of a region's blocks lead. */
import { pageOf } from './guest-code.ts'
import { type Block, type Place, SWITCH_OFFSET, type Terminator } from './region-graph.ts'

/** A number for each place. */
export function placeKey({ context, offset }: Place): number {
  return context * OFFSETS + offset
}

/** Targets may lie outside of the page, by what a jump reaches: a mebibyte. */
const OFFSETS = 2 ** 22

/** Places to which a block's end may lead, known ones only. */
export function successorsOf({ context, offset, terminator }: Block): readonly Place[] {
  const own = (to: number): Place => ({ context, offset: to })
  switch (terminator.kind) {
    case 'branch':
      return [own(terminator.otherwise), own(terminator.taken)]
    case 'jump':
    case 'fall':
      return [own(terminator.to)]
    case 'call':
      return [own(terminator.returnTo)]
    case 'enter':
      return [terminator.to]
    case 'return':
      return terminator.to === null ? [] : [terminator.to]
    case 'computed':
      // The targets are in the entry's page, and the switch does not ask for it.
      return pageOf(offset) === 0 ? [own(SWITCH_OFFSET)] : []
    case 'switch':
      return terminator.targets.map(own)
    case 'leave':
    case 'stop':
      return []
  }
}

/** Whether control goes to one of `successorsOf` for sure. */
export function isStatic(terminator: Terminator): boolean {
  return ['branch', 'jump', 'fall', 'enter'].includes(terminator.kind)
}
