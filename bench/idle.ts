/** What a protected pair takes of its hosts: CPU, log and memory, while the guest idles and while its Redis is busy. */
import { setTimeout as sleep } from 'node:timers/promises'
import { replicasOf } from '../src/cluster/host-directory.ts'
import { readClusterState } from '../src/cluster/lifecycle.ts'
import type { ReplicaStatus } from '../src/replica/status.ts'
import { startRedisGuest } from '../test/redis-guest.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { cpuSeconds, memoryBytesBeside, residentBytes } from './process-usage.ts'
import { RedisConnection } from './redis-connection.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

/** After its boot the guest's kernel still has things to finish. */
const SETTLE_MS = 10_000
const IDLE_MS = 20_000
const LOAD_MS = 10_000
const LOAD_CONNECTIONS = 8
const LOAD_VALUE = 'x'.repeat(100)
const MEGABYTE = 1e6
const NAME = 'usage'

/** One window of time: shares of a core in percent, the log's rates. */
interface Usage {
  readonly primaryPercent: number
  readonly backupPercent: number
  readonly gatewayPercent: number
  readonly logBytesPerSecond: number
  readonly logFramesPerSecond: number
}

interface Round {
  readonly idle: Usage
  readonly load: Usage
  readonly requestsPerSecond: number
  readonly residentMegabytes: number
  readonly primaryMegabytes: number
  readonly backupMegabytes: number
}

export async function measureIdle(rounds: number): Promise<Report> {
  const measured = await inMeasuredCluster(async (world, image) => {
    const { vm, counter, port } = await startRedisGuest(world, image, NAME)
    counter.stop()
    const results: Round[] = []
    for (let round = 1; round <= rounds; round++) {
      progress(`idle, round ${round} of ${rounds}: ${(SETTLE_MS + IDLE_MS + LOAD_MS) / 1000} s`)
      await sleep(SETTLE_MS)
      const idle = await usage(world, () => sleep(IDLE_MS))
      let requests = 0
      const load = await usage(world, async () => {
        requests = await keepBusy(port)
      })
      const megabytes = (pid: number) => memoryBytesBeside(pid, vm.memoryBytes) / MEGABYTE
      results.push({
        ...{ idle, load, requestsPerSecond: requests / (LOAD_MS / 1000) },
        residentMegabytes: residentBytes(vm.primary!.pid) / MEGABYTE,
        primaryMegabytes: megabytes(vm.primary!.pid),
        backupMegabytes: megabytes(vm.backup!.pid),
      })
    }
    return results
  })
  const row = (figure: string, unit: string, of: (round: Round) => number, aim = '-'): Row => ({
    ...{ figure, unit, aim },
    value: summarize(measured.map(of)),
  })
  return {
    subject: 'idle',
    rows: [
      row('idle, primary', '% of a core', ({ idle }) => idle.primaryPercent, 'under 2'),
      row('idle, backup', '% of a core', ({ idle }) => idle.backupPercent, 'under 2'),
      row('idle, gateway', '% of a core', ({ idle }) => idle.gatewayPercent),
      row('idle, log', 'bytes/s', ({ idle }) => idle.logBytesPerSecond),
      row('idle, log', 'frames/s', ({ idle }) => idle.logFramesPerSecond),
      row('load, requests', '1/s', ({ requestsPerSecond }) => requestsPerSecond),
      row('load, primary', '% of a core', ({ load }) => load.primaryPercent),
      row('load, backup', '% of a core', ({ load }) => load.backupPercent),
      row('load, log', 'Mbit/s', ({ load }) => (load.logBytesPerSecond * 8) / 1e6, 'under 20'),
      row('load, log a request', 'bytes', (round) => round.load.logBytesPerSecond / round.requestsPerSecond),
      row('memory in all, primary', 'MB', ({ residentMegabytes }) => residentMegabytes, 'guest RAM + 200'),
      row('memory beside guest RAM, primary', 'MB', ({ primaryMegabytes }) => primaryMegabytes, 'under 200'),
      row('memory beside guest RAM, backup', 'MB', ({ backupMegabytes }) => backupMegabytes, 'under 200'),
    ],
    notes: [
      `Idle for ${IDLE_MS / 1000} s. Load: ${LOAD_CONNECTIONS} connections, SET of ${LOAD_VALUE.length} bytes one after ` +
        `another, ${LOAD_MS / 1000} s. Memory is read after the load; the guest has 537 MB and has not touched all of it.`,
    ],
  }
}

async function usage(world: TestCluster, during: () => Promise<void>): Promise<Usage> {
  const { pid: gateway } = readClusterState(world.cluster.layout)!.gateway!
  const before = await replicas(world)
  const [primaryBefore, backupBefore] = [cpuSeconds(before.primary.pid), cpuSeconds(before.backup.pid)]
  const gatewayBefore = cpuSeconds(gateway)
  const startedMs = performance.now()
  await during()
  const seconds = (performance.now() - startedMs) / 1000
  const percent = (pid: number, earlier: number) => ((cpuSeconds(pid) - earlier) / seconds) * 100
  const shares = {
    primaryPercent: percent(before.primary.pid, primaryBefore),
    backupPercent: percent(before.backup.pid, backupBefore),
    gatewayPercent: percent(gateway, gatewayBefore),
  }
  const after = await replicas(world)
  return {
    ...shares,
    logBytesPerSecond: (after.primary.logBytes - before.primary.logBytes) / seconds,
    logFramesPerSecond: (after.primary.logFrames - before.primary.logFrames) / seconds,
  }
}

async function replicas(world: TestCluster): Promise<{ primary: ReplicaStatus; backup: ReplicaStatus }> {
  const all = replicasOf(await world.cluster.hosts())
  const primary = all.find(({ role }) => role === 'primary')
  const backup = all.find(({ role }) => role === 'backup')
  if (primary === undefined || backup === undefined) throw new Error(`the pair broke:\n${world.logs(NAME)}`)
  return { primary, backup }
}

/** Returns how many requests were answered. */
async function keepBusy(port: number): Promise<number> {
  const untilMs = performance.now() + LOAD_MS
  const counts = await Promise.all(
    Array.from({ length: LOAD_CONNECTIONS }, async (_, n) => {
      const connection = await RedisConnection.open(port)
      let count = 0
      for (; performance.now() < untilMs; count++) await connection.time('SET', `key-${n}`, LOAD_VALUE)
      connection.close()
      return count
    }),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}
