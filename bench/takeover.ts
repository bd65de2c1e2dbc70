/**
 * What a client notices when a replica dies or stalls. A Redis client increments a counter over one connection,
 * 2 ms after each answer; the pause is its longest wait for an answer around the fault. Each round has a fresh pair.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenedImage } from '../src/image/directory.ts'
import type { UnderstudyEvent } from '../src/replica/event-log.ts'
import { countOn, type RedisGuest, startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

/** Increments before a fault, so that the guest is warm, and after it, so that a late surprise shows. */
const INCREMENTS_BEFORE = 500
const INCREMENTS_AFTER = 300
const STOPPED_MS = 5_000
/** Of a killed primary, which is found out soonest. */
const AIM_PAUSE = 'worst 300 or less'

/** Does the harm, and resolves with the event that says how long the parts of recovering took. */
type Fault = (world: TestCluster, guest: RedisGuest) => Promise<UnderstudyEvent>

interface Harm {
  readonly pauseMs: number
  /** Acknowledged increments that were gone afterwards. */
  readonly lost: number
  /** Increments that happened more often than they were asked for. */
  readonly repeated: number
  readonly resets: number
  /** Fields of the event that end in `Ms`. */
  readonly partsMs: ReadonlyMap<string, number>
}

export function measureTakeover(rounds: number): Promise<Report> {
  return measureFault('takeover', rounds, async (world, { vm }) => {
    process.kill(vm.primary!.pid, 'SIGKILL')
    return world.event(vm.name, 'went-live')
  })
}

export function measureBackupLoss(rounds: number): Promise<Report> {
  return measureFault('backup-loss', rounds, async (world, { vm }) => {
    process.kill(vm.backup!.pid, 'SIGKILL')
    return world.event(vm.name, 'unprotected', ({ generation }) => generation === vm.generation + 1)
  })
}

export function measureStoppedPrimary(rounds: number): Promise<Report> {
  return measureFault('stop', rounds, async (world, { vm }) => {
    const { pid, host } = vm.primary!
    process.kill(pid, 'SIGSTOP')
    const stoppedMs = performance.now()
    try {
      const live = await world.event(vm.name, 'went-live')
      await sleep(Math.max(0, STOPPED_MS - (performance.now() - stoppedMs)))
      return live
    } finally {
      process.kill(pid, 'SIGCONT')
      await world.event(vm.name, 'halted', (event) => event.host === host)
    }
  })
}

async function measureFault(subject: string, rounds: number, fault: Fault): Promise<Report> {
  const harms = await inMeasuredCluster(async (world, image) => {
    const measured: Harm[] = []
    for (let round = 1; round <= rounds; round++) {
      measured.push(await oneRound(world, image, `${subject}-${round}`, fault))
      progress(`${subject}, round ${round} of ${rounds}: ${measured.at(-1)!.pauseMs.toFixed(0)} ms`)
    }
    return measured
  })
  const row = (figure: string, unit: string, of: (harm: Harm) => number, aim: string): Row => ({
    ...{ figure, unit, aim },
    value: summarize(harms.map(of)),
  })
  const parts = [...(harms[0]?.partsMs.keys() ?? [])]
  return {
    subject,
    rows: [
      row('pause of the client', 'ms', ({ pauseMs }) => pauseMs, subject === 'takeover' ? AIM_PAUSE : '-'),
      row('connections reset', '', ({ resets }) => resets, '0'),
      row('acknowledged increments lost', '', ({ lost }) => lost, '0'),
      row('increments repeated', '', ({ repeated }) => repeated, '0'),
      ...parts.map((name) => row(`of it, ${name}`, 'ms', ({ partsMs }) => partsMs.get(name) ?? 0, '-')),
    ],
    notes: [
      'Hosts are processes on this machine; the load of both replicas, the gateway and the client is on it.',
    ],
  }
}

async function oneRound(world: TestCluster, image: OpenedImage, name: string, fault: Fault): Promise<Harm> {
  let [last, lost, repeated] = [0, 0, 0]
  const onAnswer = (value: number) => {
    const surplus = last === 0 ? 0 : value - (last + 1)
    if (surplus < 0) lost -= surplus
    else repeated += surplus
    last = value
  }
  const guest = await startRedisGuest(world, image, name, { onAnswer })
  const { vm, counter } = guest
  try {
    if (vm.protection !== 'protected') throw new Error(`${name} is ${vm.protection} before anything was done`)
    await countOn(counter, INCREMENTS_BEFORE)
    counter.takeWorstMs()
    const event = await fault(world, guest)
    await countOn(counter, INCREMENTS_AFTER)
    const pauseMs = counter.takeWorstMs()
    await checkOneIsLive(world, guest)
    return { pauseMs, lost, repeated, resets: counter.report.broken, partsMs: partsOf(event) }
  } finally {
    counter.stop()
    await world.cluster.remove(name, { force: true })
  }
}

/** One machine, one generation further, and never more than one takeover. */
async function checkOneIsLive(world: TestCluster, { vm }: RedisGuest): Promise<void> {
  const { generation, primary } = await world.cluster.status(vm.name)
  const takeovers = (await world.events()).filter(
    ({ vm: of, type }) => of === vm.name && type === 'went-live',
  )
  if (generation !== vm.generation + 1 || primary === null || takeovers.length > 1) {
    throw new Error(`not one machine is live: ${JSON.stringify({ generation, primary, takeovers })}`)
  }
}

function partsOf(event: UnderstudyEvent): ReadonlyMap<string, number> {
  const parts = new Map<string, number>()
  for (const [name, value] of Object.entries(event)) {
    if (name.endsWith('Ms') && typeof value === 'number') parts.set(name.slice(0, -2), value)
  }
  return parts
}
