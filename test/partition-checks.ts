/**
 * What must hold of a cluster after any partitions, told from what it wrote down and what its clients saw. Pure; each check
 * returns the promises that were broken, in words.
 */
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import type { ClientHistory } from './counter-clients.ts'
import { counterModel, registerModel } from './history.ts'
import { checkHistory } from './linearizability.ts'

/** The key of one generation of the machine in the store. */
export interface GenerationKey {
  readonly generation: number
  /** The replica that won it; its name begins with its host and a slash. */
  readonly winner: string
}

/** Of `understudy ps --json`. */
export interface FinalStatus {
  readonly state: string
  readonly protection: string
  readonly generation: number
  readonly primary: { readonly host: string } | null
  readonly backup: { readonly host: string } | null
}

export interface Evidence {
  readonly vm: string
  readonly history: ClientHistory
  /** Of all hosts, in any order. */
  readonly events: readonly UnderstudyEvent[]
  readonly generations: readonly GenerationKey[]
  readonly status: FinalStatus
}

/** Empty when every promise was kept. */
export function brokenPromises(evidence: Evidence): string[] {
  return [
    ...historyProblems(evidence.history),
    ...connectionProblems(evidence.history),
    ...lossProblems(evidence.history),
    ...liveProblems(evidence),
    ...generationProblems(evidence),
    ...replayProblems(evidence),
    ...statusProblems(evidence),
  ]
}

function historyProblems({ counters, registers }: ClientHistory): string[] {
  const verdicts = [checkHistory(counterModel, counters), checkHistory(registerModel, registers)]
  return verdicts.flatMap((verdict) => {
    if (verdict.verdict === 'linearizable') return []
    if (verdict.verdict === 'violation') return [verdict.text]
    return [`${verdict.key}: neither shown nor refuted in ${verdict.steps} steps; make the history shorter`]
  })
}

/** Nobody outside may notice a takeover. */
function connectionProblems({ breaks }: ClientHistory): string[] {
  return breaks.map(
    ({ process, why, detail, atMs }) => `client ${process}: ${why} at ${atMs.toFixed(0)} ms (${detail})`,
  )
}

/**
 * The same as linearizability says, said without a search: the last read of a counter shows every increment that was
 * acknowledged, and none but those and the ones never answered.
 */
function lossProblems({ counters }: ClientHistory): string[] {
  return [...Map.groupBy(counters, ({ key }) => key)].flatMap(([key, operations]) => {
    const increments = operations.filter(({ request }) => request.kind === 'increment')
    const acknowledged = increments.filter(({ returnMs }) => returnMs !== null)
    const last = operations.findLast(({ request, returnMs }) => request.kind === 'read' && returnMs !== null)
    const lastReturnMs = acknowledged.reduce((latest, { returnMs }) => Math.max(latest, returnMs!), 0)
    if (last === undefined || last.callMs < lastReturnMs) return [`${key}: was not read at the end`]
    const value = last.result!.value
    const unanswered = increments.length - acknowledged.length
    if (value < acknowledged.length)
      return [`${key}: ${acknowledged.length - value} acknowledged increments are lost`]
    if (value > acknowledged.length + unanswered)
      return [`${key}: ${value - increments.length} increments are too many`]
    return []
  })
}

/** Events by which a replica says that it is the live one of a generation. */
function claimsToLive({ vm, events }: Evidence): { generation: number; host: string; type: string }[] {
  return events.flatMap(({ vm: of, type, host, generation, backup }) => {
    if (of !== vm || typeof generation !== 'number') return []
    // The other side of a pair says `protected` as well, and names its primary.
    const claims =
      type === 'went-live' || type === 'unprotected' || (type === 'protected' && backup !== undefined)
    return claims ? [{ generation, host, type }] : []
  })
}

/** One live machine: whoever says that it lives in a generation is the one that won it in the store. */
function liveProblems(evidence: Evidence): string[] {
  const winners = new Map(evidence.generations.map(({ generation, winner }) => [generation, hostOf(winner)]))
  const claims = claimsToLive(evidence)
  const wrong = claims.flatMap(({ generation, host, type }) => {
    const winner = winners.get(generation)
    if (winner === host) return []
    return [`${host} says ${type} in generation ${generation}, which ${winner ?? 'nobody'} won`]
  })
  const takeovers = Map.groupBy(
    claims.filter(({ type }) => type === 'went-live'),
    ({ generation }) => generation,
  )
  for (const [generation, of] of takeovers) {
    if (of.length > 1)
      wrong.push(`${of.map(({ host }) => host).join(' and ')} went live in generation ${generation}`)
  }
  return [...new Set(wrong)]
}

/** No generation was skipped, and each was won once; keys are created and never changed, so two of one are of a broken store. */
function generationProblems({ generations }: Evidence): string[] {
  const numbers = generations.map(({ generation }) => generation).sort((a, b) => a - b)
  if (numbers.length === 0) return ['the store knows no generation']
  const first = numbers[0]
  const inOrder = numbers.every((number, i) => number === first + i)
  return inOrder ? [] : [`generations are not one after the other: ${numbers}`]
}

/** A partition is no reason for a replica to compute something else. */
function replayProblems({ vm, events }: Evidence): string[] {
  return events
    .filter((event) => event.vm === vm && (event.type === 'diverged' || event.type === 'failed'))
    .map((event) => JSON.stringify(event))
}

function statusProblems({ status, generations }: Evidence): string[] {
  const { state, protection, generation, primary, backup } = status
  const newest = generations.reduce<GenerationKey | null>(
    (best, key) => (best === null || key.generation > best.generation ? key : best),
    null,
  )
  const isRight =
    state === 'running' &&
    protection === 'protected' &&
    primary !== null &&
    backup !== null &&
    primary.host !== backup.host &&
    newest?.generation === generation &&
    hostOf(newest.winner) === primary.host
  return isRight ? [] : [`at the end: ${JSON.stringify(status)}, newest generation ${JSON.stringify(newest)}`]
}

function hostOf(winner: string): string {
  return winner.split('/')[0]
}
