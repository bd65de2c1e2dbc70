/**
 * What is left of the promises when hosts are cut off, stopped and killed, on a network that is one: the long form of
 * `test/partitions.test.ts`. Fails when one is broken, and names the seed.
 */
import { runPartitions } from '../test/partition-run.ts'
import { partitionSeed, partitionsUnavailable } from '../test/partition-setting.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const HOSTS = 4
const IMAGE = 'tiny'

export async function measurePartitions(rounds: number): Promise<Report> {
  const unavailable = await partitionsUnavailable()
  if (unavailable !== null) throw new Error(unavailable)
  const seed = partitionSeed()
  progress(`partitions, UNDERSTUDY_SEED=${seed}`)
  const run = await runPartitions({
    ...{ hosts: HOSTS, image: IMAGE, seed, rounds },
    onRound: ({ round, faults, servedMs, protectedMs }) =>
      progress(
        `round ${round} of ${rounds}: ${faults.join('; ')}: served after ${servedMs.toFixed(0)} ms, protected after ${protectedMs.toFixed(0)} ms`,
      ),
  })
  if (run.problems.length > 0) throw new Error(`seed ${seed}:\n${run.problems.join('\n')}`)
  const { history, generations } = run.evidence
  const operations = history.counters.length + history.registers.length
  const unanswered = operations - run.answersMs.length
  const row = (figure: string, unit: string, values: readonly number[], aim: string): Row => ({
    ...{ figure, unit, aim },
    value: summarize(values),
  })
  return {
    subject: 'partitions',
    rows: [
      row(
        'from healed to served',
        'ms',
        run.rounds.map(({ servedMs }) => servedMs),
        '-',
      ),
      row(
        'from healed to protected',
        'ms',
        run.rounds.map(({ protectedMs }) => protectedMs),
        '-',
      ),
      row('time of an answer', 'ms', run.answersMs, '-'),
      row('connections reset', '', [history.breaks.length], '0'),
      row('promises broken', '', [run.problems.length], '0'),
    ],
    notes: [
      `Seed ${seed}: ${rounds} rounds on ${HOSTS} hosts, ${run.rounds.filter(({ moved }) => moved).length} of them moved the primary; generation ${generations.length} at the end.`,
      `${operations} operations of the clients, ${unanswered} never answered; linearizable, no acknowledged increment lost, one live machine.`,
      ...(run.shortcomings === null ? [] : [`Of this kernel: ${run.shortcomings}.`]),
      'A connection reset or a promise broken fails the command, so these rows say 0 or are not printed.',
    ],
  }
}
