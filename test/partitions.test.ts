/**
 * The promises, kept by real hosts on a network that is cut, slowed and stopped: nobody outside notices, and nothing that was
 * acknowledged is lost. A few rounds here; UNDERSTUDY_PARTITION_ROUNDS asks for more, UNDERSTUDY_SEED for the same ones again.
 */
import { beforeAll, expect, it } from 'vitest'
import { buildImage } from '../src/image/build.ts'
import { runPartitions } from './partition-run.ts'
import { partitionSeed, partitionsUnavailable } from './partition-setting.ts'

const HOSTS = 3
const IMAGE = 'tiny'
const ROUNDS = Number(process.env.UNDERSTUDY_PARTITION_ROUNDS ?? 3)
const START_MS_MAX = 600_000
const ROUND_MS_MAX = 240_000

const unavailable = await partitionsUnavailable()
if (unavailable !== null) console.log(`skipped: ${unavailable}`)

beforeAll(async () => {
  if (unavailable === null) await buildImage(IMAGE)
}, 900_000)

it.skipIf(unavailable !== null)(
  `${ROUNDS} rounds of partitions, pauses and deaths of hosts: every promise is kept`,
  async () => {
    const seed = partitionSeed()
    console.log(`UNDERSTUDY_SEED=${seed}`)
    const run = await runPartitions({
      ...{ hosts: HOSTS, image: IMAGE, seed, rounds: ROUNDS },
      onRound: ({ round, faults, servedMs, protectedMs }) =>
        console.log(
          `round ${round}: ${faults.join('; ')}: served after ${servedMs.toFixed(0)} ms, protected after ${protectedMs.toFixed(0)} ms`,
        ),
    })
    expect(run.problems, `UNDERSTUDY_SEED=${seed}\n${run.problems.join('\n')}`).toEqual([])
    expect(run.rounds.length).toBe(ROUNDS)
  },
  START_MS_MAX + ROUNDS * ROUND_MS_MAX,
)
