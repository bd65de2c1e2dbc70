/**
 * Whole hosts die, one after the other: agent and replicas, by SIGKILL. Each time every virtual machine has to be protected
 * again, unasked; then the host comes back and the next one dies. Clients count and write over the same connections all the
 * time; at the end their history has to be linearizable.
 */
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAgent } from '../src/cluster/lifecycle.ts'
import { type ClientHistory, CounterClients } from '../test/counter-clients.ts'
import { counterModel, registerModel } from '../test/history.ts'
import { checkHistory } from '../test/linearizability.ts'
import { startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const HOSTS = 3
const NAME = 'survivor'
const SEED = 20_261_128
/** What the clients do between two deaths, so that each is noticed by all of them. */
const ANSWERS_BETWEEN = 200
const PROTECTED_MS_MAX = 60_000
const LOOK_MS = 20

interface Loss {
  readonly role: 'primary' | 'backup'
  readonly protectedMs: number
}

export async function measureHosts(rounds: number): Promise<Report> {
  const { losses, history } = await inMeasuredCluster(async (world, image) => {
    const guest = await startRedisGuest(world, image, NAME)
    guest.counter.stop()
    const clients = new CounterClients(spawn, {
      ...{ address: '127.0.0.1', port: guest.port, clients: 4, keys: 3 },
      ...{ pauseMs: 5, answerMsMax: 30_000, seed: SEED },
    })
    try {
      await clients.started()
      const list: Loss[] = []
      for (let round = 1; round <= rounds; round++) {
        await untilAnswered(clients, ANSWERS_BETWEEN)
        list.push(await loseHost(world, round))
        const { role, protectedMs } = list.at(-1)!
        progress(
          `hosts, round ${round} of ${rounds}: lost a ${role}, protected again after ${protectedMs.toFixed(0)} ms`,
        )
      }
      await untilAnswered(clients, ANSWERS_BETWEEN)
      return { losses: list, history: await clients.stop() }
    } finally {
      clients.kill()
    }
  }, HOSTS)
  return report(losses, history)
}

async function untilAnswered(clients: CounterClients, more: number): Promise<void> {
  const target = clients.answered + more
  while (clients.answered < target) await sleep(LOOK_MS)
}

/** Kills the host of the primary, and every third time that of the backup; resolves when all is as before. */
async function loseHost(world: TestCluster, round: number): Promise<Loss> {
  const before = await world.cluster.status(NAME)
  const role = round % 3 === 0 ? 'backup' : 'primary'
  const dead = before[role]!.host
  const { status } = (await world.cluster.hosts()).find(({ host }) => host === dead)!
  for (const pid of [status!.pid, ...status!.replicas.map((replica) => replica.pid)])
    process.kill(pid, 'SIGKILL')
  const killedMs = performance.now()
  await world.status(
    NAME,
    ({ protection, generation }) => protection === 'protected' && generation > before.generation,
    PROTECTED_MS_MAX,
  )
  const protectedMs = performance.now() - killedMs
  await startAgent(world.cluster.layout, dead)
  return { role, protectedMs }
}

function report(losses: readonly Loss[], history: ClientHistory): Report {
  const verdicts = [
    checkHistory(counterModel, history.counters),
    checkHistory(registerModel, history.registers),
  ]
  for (const verdict of verdicts) {
    if (verdict.verdict !== 'linearizable') throw new Error(JSON.stringify(verdict, null, 1))
  }
  if (history.breaks.length > 0) throw new Error(`connections broke: ${JSON.stringify(history.breaks)}`)
  const answersMs = [...history.counters, ...history.registers].flatMap(({ callMs, returnMs }) =>
    returnMs === null ? [] : [returnMs - callMs],
  )
  const row = (figure: string, unit: string, values: readonly number[], aim = '-'): Row => ({
    ...{ figure, unit, aim },
    value: summarize(values),
  })
  const of = (role: Loss['role']) =>
    losses.filter((loss) => loss.role === role).map(({ protectedMs }) => protectedMs / 1000)
  const backups = of('backup')
  return {
    subject: 'hosts',
    rows: [
      row('from the death of the primary’s host to a pair', 's', of('primary'), '10 or less'),
      ...(backups.length === 0
        ? []
        : [row('from the death of the backup’s host to a pair', 's', backups, '10 or less')]),
      row('time of an answer', 'ms', answersMs),
      row('connections reset', '', [history.breaks.length], '0'),
    ],
    notes: [
      `${answersMs.length} operations of 4 clients over the same connections through ${losses.length} deaths; their history is linearizable.`,
      'A connection reset, or a history that is not linearizable, fails the command.',
    ],
  }
}
