/**
 * `npm run measure -- SUBJECT [--json] [--rounds N]`: measures one of the promised figures (docs/promises.md) on this
 * machine. Each subject starts what it needs in directories of its own and leaves nothing behind.
 */
import { parseArgs } from 'node:util'
import { reportError } from '../src/cli/exit-codes.ts'
import { circumstances, printReport, type Report } from './report.ts'

interface Subject {
  readonly summary: string
  readonly roundsDefault: number
  /** Loaded only when asked for. */
  load(): Promise<(rounds: number) => Promise<Report>>
}

const SUBJECTS: { readonly [name: string]: Subject } = {
  takeover: {
    summary: 'kill -9 of the primary under a counting Redis client, a fresh pair each round',
    roundsDefault: 20,
    load: async () => (await import('./takeover.ts')).measureTakeover,
  },
  'backup-loss': {
    summary: 'kill -9 of the backup under the same client',
    roundsDefault: 5,
    load: async () => (await import('./takeover.ts')).measureBackupLoss,
  },
  clone: {
    summary: 'a busy guest of 1 GiB is cloned onto another host while it serves',
    roundsDefault: 5,
    load: async () => (await import('./clone.ts')).measureClone,
  },
  hosts: {
    summary: 'kill -9 of one whole host after the other among three, while clients count and write',
    roundsDefault: 50,
    load: async () => (await import('./hosts.ts')).measureHosts,
  },
  many: {
    summary: 'eight small protected machines on three hosts, and a host that is drained of them',
    roundsDefault: 3,
    load: async () => (await import('./many.ts')).measureMany,
  },
  stop: {
    summary: 'SIGSTOP of the primary for 5 s, then SIGCONT',
    roundsDefault: 3,
    load: async () => (await import('./takeover.ts')).measureStoppedPrimary,
  },
  partitions: {
    summary:
      'cuts, pauses and deaths of hosts in network namespaces, rounds of faults drawn from UNDERSTUDY_SEED',
    roundsDefault: 50,
    load: async () => (await import('./partitions.ts')).measurePartitions,
  },
  start: {
    summary: 'start from a snapshot of the booted image, to an answered TCP request; saving and restoring',
    roundsDefault: 10,
    load: async () => (await import('./start.ts')).measureStart,
  },
  speed: {
    summary: 'steady guest MIPS of bare-metal kernels, beside QEMU',
    roundsDefault: 3,
    load: async () => (await import('./speed.ts')).measureSpeed,
  },
  idle: {
    summary: 'CPU, log and memory of a protected pair, idle and under Redis load',
    roundsDefault: 1,
    load: async () => (await import('./idle.ts')).measureIdle,
  },
  soak: {
    summary: 'memory of a replica whose guest compiles, forks and starts programs for 10 minutes a round',
    roundsDefault: 1,
    load: async () => (await import('./soak.ts')).measureSoak,
  },
  gateway: {
    summary: 'what the gateway adds to a round trip',
    roundsDefault: 3,
    load: async () => (await import('./gateway.ts')).measureGateway,
  },
  network: {
    summary: 'bulk transfers into and out of an unprotected guest',
    roundsDefault: 3,
    load: async () => (await import('./network.ts')).measureNetwork,
  },
  lag: {
    summary: 'execution lag and throttle while the backup is at a quarter of its speed, and after',
    roundsDefault: 1,
    load: async () => (await import('./lag.ts')).measureLag,
  },
  steady: {
    summary: 'execution lag, log and latency of a protected pair, idle and under load',
    roundsDefault: 3,
    load: async () => (await import('./steady.ts')).measureSteady,
  },
  latency: {
    summary: 'request latency of Redis, protected and unprotected',
    roundsDefault: 3,
    load: async () => (await import('./latency.ts')).measureLatency,
  },
}

const ROUNDS_MAX = 1000

function usage(): never {
  const lines = Object.entries(SUBJECTS).map(
    ([name, { summary, roundsDefault }]) =>
      `  ${name.padEnd(12)} ${summary} (${roundsDefault} ${roundsDefault === 1 ? 'round' : 'rounds'})`,
  )
  process.stderr.write(`usage: npm run measure -- SUBJECT [--rounds N] [--json]\n\n${lines.join('\n')}\n`)
  process.exit(2)
}

function parse(): { subject: Subject; rounds: number; json: boolean } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rounds: { type: 'string' }, json: { type: 'boolean', default: false } },
    })
    const [name, ...more] = positionals
    const subject = Object.hasOwn(SUBJECTS, name ?? '') ? SUBJECTS[name] : undefined
    const rounds = values.rounds === undefined ? subject?.roundsDefault : Number(values.rounds)
    const inRange = Number.isInteger(rounds) && Number(rounds) >= 1 && Number(rounds) <= ROUNDS_MAX
    if (subject === undefined || more.length > 0 || !inRange) usage()
    return { subject, rounds: Number(rounds), json: values.json }
  } catch {
    usage()
  }
}

const { subject, rounds, json } = parse()
const around = circumstances()
try {
  const measure = await subject.load()
  printReport(await measure(rounds), around, json)
} catch (error) {
  process.exitCode = reportError(error, (text) => process.stderr.write(text))
}
