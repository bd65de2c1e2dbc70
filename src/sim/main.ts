/**
 * `npm run sim -- [--seeds N] [--seed S] [--from S] [--cluster] [--without RULE]`: runs many simulated worlds, or one with its
 * trace. Worlds of one pair, and for some of the seeds a cluster as well; with --cluster clusters only. Ends with status 1 at
 * the first violation, which it prints with the command that reproduces it.
 */
import { parseArgs } from 'node:util'
import type { Violation } from './checkers.ts'
import { type ClusterInjection, NO_CLUSTER_INJECTION } from './cluster/injection.ts'
import { PROTECTED_AGAIN_MS_MAX, simulateCluster } from './cluster/simulation.ts'
import { simulate } from './simulation.ts'
import { type Injection, NO_INJECTION } from './world.ts'

const PAIR_RULES: Readonly<Record<string, keyof Injection>> = {
  'output-rule': 'outputRule',
  'test-and-set': 'testAndSet',
  'whole-frame': 'wholeFrame',
  promise: 'promise',
  bind: 'bind',
  fence: 'fence',
}
const CLUSTER_RULES: Readonly<Record<string, keyof ClusterInjection>> = {
  apart: 'apart',
  'gone-clone': 'goneClone',
  awaited: 'awaited',
  'host-memory': 'hostMemory',
}
const RULES = [...Object.keys(PAIR_RULES), ...Object.keys(CLUSTER_RULES)]
const SEEDS_DEFAULT = 1_000
/** A cluster lives for half a minute, which costs as much as ten worlds of a pair. */
const SEEDS_PER_CLUSTER = 10

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    from: { type: 'string' },
    cluster: { type: 'boolean' },
    without: { type: 'string', multiple: true },
    help: { type: 'boolean' },
  },
})

function refuse(message: string): never {
  process.stderr.write(`${message}\n`)
  process.exit(2)
}

function whole(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  return refuse(`--${name} needs a whole number, not ${JSON.stringify(text)}`)
}

/** What is switched off, by the rules that the command line names. */
function without(rules: readonly string[]): { readonly pair: Injection; readonly cluster: ClusterInjection } {
  const pair: Record<keyof Injection, boolean> = { ...NO_INJECTION }
  const cluster: Record<keyof ClusterInjection, boolean> = { ...NO_CLUSTER_INJECTION }
  for (const rule of rules) {
    const ofPair = PAIR_RULES[rule]
    const ofCluster = CLUSTER_RULES[rule]
    if (ofPair !== undefined) pair[ofPair] = false
    else if (ofCluster !== undefined) cluster[ofCluster] = false
    else refuse(`--without knows ${RULES.join(', ')}, not ${JSON.stringify(rule)}`)
  }
  return { pair, cluster }
}

interface Outcome {
  readonly seed: number
  readonly violation: Violation | null
  readonly simulatedMs: number
  readonly steps: number
  readonly replies: number
  readonly takeovers: number
  readonly clones: number
  /** Of clusters only. */
  readonly protectedAgainMs?: number
}

class Totals {
  #worlds = 0
  #steps = 0
  #replies = 0
  #takeovers = 0
  #clones = 0
  #protectedAgainMs = 0

  add({ steps, replies, takeovers, clones, protectedAgainMs = 0 }: Outcome): void {
    this.#worlds++
    this.#steps += steps
    this.#replies += replies
    this.#takeovers += takeovers
    this.#clones += clones
    this.#protectedAgainMs = Math.max(this.#protectedAgainMs, protectedAgainMs)
  }

  toString(): string {
    const again =
      this.#protectedAgainMs === 0
        ? ''
        : `; protected again after ${Math.ceil(this.#protectedAgainMs)} ms at most (bound: ${PROTECTED_AGAIN_MS_MAX})`
    const counts = `${this.#steps} steps, ${this.#replies} replies, ${this.#takeovers} takeovers, ${this.#clones} clones`
    return `${this.#worlds} worlds without a violation: ${counts}${again}`
  }
}

function main(): void {
  if (values.help === true) {
    const options = '[--seeds N] [--from S] [--seed S] [--cluster]'
    process.stdout.write(`npm run sim -- ${options} [--without ${RULES.join('|')}]\n`)
    return
  }
  const rules = values.without ?? []
  const injection = without(rules)
  const isCluster = values.cluster === true || rules.some((rule) => rule in CLUSTER_RULES)
  const switches = `${isCluster ? ' --cluster' : ''}${rules.map((rule) => ` --without ${rule}`).join('')}`
  const trace = (line: string) => process.stdout.write(`${line}\n`)
  if (values.seed !== undefined) {
    const seed = whole('seed', values.seed)
    const outcome: Outcome = isCluster
      ? simulateCluster(seed, injection.cluster, trace)
      : simulate(seed, injection.pair, trace)
    process.stdout.write(`${JSON.stringify(outcome)}\n`)
    process.exitCode = outcome.violation === null ? 0 : 1
    return
  }
  const from = whole('from', values.from ?? '1')
  const seeds = whole('seeds', values.seeds ?? String(SEEDS_DEFAULT))
  const begunMs = performance.now()
  const [pairs, clusters] = [new Totals(), new Totals()]
  for (let seed = from; seed < from + seeds; seed++) {
    if (!isCluster && !passes(simulate(seed, injection.pair), pairs, switches)) return
    if (!isCluster && (rules.length > 0 || seed % SEEDS_PER_CLUSTER !== 0)) continue
    const clusterSwitches = isCluster ? switches : ' --cluster'
    if (!passes(simulateCluster(seed, injection.cluster), clusters, clusterSwitches)) return
  }
  const seconds = ((performance.now() - begunMs) / 1000).toFixed(1)
  if (!isCluster) process.stdout.write(`pairs: ${pairs}\n`)
  if (isCluster || rules.length === 0) process.stdout.write(`clusters: ${clusters}\n`)
  process.stdout.write(`${seeds} seeds in ${seconds} s\n`)
}

/** Counts the outcome, or tells what was violated. */
function passes(outcome: Outcome, totals: Totals, switches: string): boolean {
  totals.add(outcome)
  if (outcome.violation === null) return true
  const { invariant, detail } = outcome.violation
  const { seed, simulatedMs } = outcome
  process.stdout.write(`seed ${seed} violates ${invariant} at ${simulatedMs.toFixed(2)} ms: ${detail}\n`)
  process.stdout.write(`reproduce: npm run sim -- --seed ${seed}${switches}\n`)
  process.exitCode = 1
  return false
}

// A reader that has seen enough (head, less) is no failure.
process.stdout.on('error', () => process.exit())
main()
