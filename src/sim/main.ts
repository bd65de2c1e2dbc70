/**
 * `npm run sim -- [--seeds N] [--seed S] [--from S] [--without RULE]`: runs many simulated worlds, or one with its
 * trace. Ends with status 1 at the first violation, which it prints with the command that reproduces it.
 */
import { parseArgs } from 'node:util'
import { simulate } from './simulation.ts'
import { type Injection, NO_INJECTION } from './world.ts'

const SWITCHES: Readonly<Record<string, keyof Injection>> = {
  'output-rule': 'outputRule',
  'test-and-set': 'testAndSet',
  'whole-frame': 'wholeFrame',
  promise: 'promise',
  bind: 'bind',
  fence: 'fence',
}
const SEEDS_DEFAULT = 1_000

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    from: { type: 'string' },
    without: { type: 'string', multiple: true },
    help: { type: 'boolean' },
  },
})

function whole(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  process.stderr.write(`--${name} needs a whole number, not ${JSON.stringify(text)}\n`)
  process.exit(2)
}

function injectionOf(rules: readonly string[]): Injection {
  const injection: Record<keyof Injection, boolean> = { ...NO_INJECTION }
  for (const rule of rules) {
    const key = SWITCHES[rule]
    if (key === undefined) {
      process.stderr.write(
        `--without knows ${Object.keys(SWITCHES).join(', ')}, not ${JSON.stringify(rule)}\n`,
      )
      process.exit(2)
    }
    injection[key] = false
  }
  return injection
}

function main(): void {
  if (values.help === true) {
    const rules = Object.keys(SWITCHES).join('|')
    process.stdout.write(`npm run sim -- [--seeds N] [--from S] [--seed S] [--without ${rules}]\n`)
    return
  }
  const without = values.without ?? []
  const injection = injectionOf(without)
  if (values.seed !== undefined) {
    const outcome = simulate(whole('seed', values.seed), injection, (line) =>
      process.stdout.write(`${line}\n`),
    )
    process.stdout.write(`${JSON.stringify(outcome)}\n`)
    process.exitCode = outcome.violation === null ? 0 : 1
    return
  }
  const from = whole('from', values.from ?? '1')
  const seeds = whole('seeds', values.seeds ?? String(SEEDS_DEFAULT))
  const begunMs = performance.now()
  let steps = 0
  let replies = 0
  let takeovers = 0
  let clones = 0
  for (let seed = from; seed < from + seeds; seed++) {
    const outcome = simulate(seed, injection)
    steps += outcome.steps
    replies += outcome.replies
    takeovers += outcome.takeovers
    clones += outcome.clones
    if (outcome.violation === null) continue
    const { invariant, detail } = outcome.violation
    const switches = without.map((rule) => ` --without ${rule}`).join('')
    process.stdout.write(
      `seed ${seed} violates ${invariant} at ${outcome.simulatedMs.toFixed(2)} ms: ${detail}\n`,
    )
    process.stdout.write(`reproduce: npm run sim -- --seed ${seed}${switches}\n`)
    process.exitCode = 1
    return
  }
  const seconds = ((performance.now() - begunMs) / 1000).toFixed(1)
  process.stdout.write(
    `${seeds} seeds without a violation: ${steps} steps, ${replies} replies, ${takeovers} takeovers, ${clones} clones in ${seconds} s\n`,
  )
}

// A reader that has seen enough (head, less) is no failure.
process.stdout.on('error', () => process.exit())
main()
