/**
 * Bulk transfers over TCP between a client on this host and the Redis of an unprotected `tiny`, recorded, through a
 * passt of its own: how fast, and what a megabyte costs in instructions, frames, interrupts and log.
 */
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { InputQueue } from '../src/cli/machine-inputs.ts'
import { MachineLoop } from '../src/cli/machine-loop.ts'
import { macAddress, plugIn } from '../src/cli/machine-network.ts'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { progressDisplay } from '../src/image/progress.ts'
import { createMachine } from '../src/machine/create.ts'
import type { MachineOutput } from '../src/machine/io.ts'
import { claimPorts } from '../src/net/publishing.ts'
import { FrameEncoder } from '../src/replay/frame.ts'
import type { BulkRequest, BulkWork } from './bulk-client.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const MIB = 1024 * 1024
const MEMORY_BYTES = 512 * MIB
const VALUE_BYTES = 8 * MIB
/** Transfers of a value in one turn of a round. */
const TIMES = 8
const REDIS_PORT = 6379
const BOOT_MS_MAX = 120_000

/** What ran up to a moment; differences of two are what a transfer took. */
interface Counts {
  readonly ms: number
  readonly cpuMs: number
  readonly instructions: number
  readonly framesIn: number
  readonly framesOut: number
  readonly slices: number
  readonly logBytes: number
  readonly dropped: number
}

type Direction = BulkRequest['direction']
const DIRECTIONS: { readonly [direction in Direction]: string } = {
  in: 'to the guest',
  out: 'from the guest',
}

export async function measureNetwork(rounds: number): Promise<Report> {
  const image = await buildImage('tiny', { progress: progressDisplay(process.stderr) })
  const guest = await startGuest(image)
  const turns: { direction: Direction; counts: Counts }[] = []
  try {
    console.error(JSON.stringify(await guest.transfer('in')))
    await guest.transfer('out')
    for (let round = 1; round <= rounds; round++) {
      for (const direction of ['in', 'out'] as const) {
        progress(`network, ${DIRECTIONS[direction]}, round ${round} of ${rounds}`)
        turns.push({ direction, counts: await guest.transfer(direction) })
        console.error(JSON.stringify(turns.at(-1)))
      }
    }
  } finally {
    await guest.stop()
  }
  const megabytes = (VALUE_BYTES * TIMES) / MIB
  const row = (direction: Direction, figure: string, unit: string, of: (counts: Counts) => number): Row => ({
    figure: `${DIRECTIONS[direction]}, ${figure}`,
    unit,
    value: summarize(turns.filter((turn) => turn.direction === direction).map(({ counts }) => of(counts))),
  })
  return {
    subject: 'network',
    rows: (['in', 'out'] as const).flatMap((direction) => [
      row(direction, 'throughput', 'MiB/s', ({ ms }) => (megabytes * 1000) / ms),
      row(direction, 'CPU time of the machine', 'ms/MiB', ({ cpuMs }) => cpuMs / megabytes),
      row(direction, 'instructions', '10^3/MiB', ({ instructions }) => instructions / 1000 / megabytes),
      row(direction, 'frames to the guest', '/MiB', ({ framesIn }) => framesIn / megabytes),
      row(direction, 'frames from the guest', '/MiB', ({ framesOut }) => framesOut / megabytes),
      row(direction, 'slices', '/MiB', ({ slices }) => slices / megabytes),
      row(direction, 'log', 'KiB/MiB', ({ logBytes }) => logBytes / 1024 / megabytes),
      row(direction, 'frames dropped', '', ({ dropped }) => dropped),
    ]),
    notes: [
      `SET and GET of values of ${VALUE_BYTES / MIB} MiB, ${TIMES} times a round, over one connection.`,
    ],
  }
}

interface Guest {
  transfer(direction: Direction): Promise<Counts>
  stop(): Promise<void>
}

async function startGuest({ kernelPath, initrdPath, manifest }: OpenedImage): Promise<Guest> {
  const machine = createMachine({
    memoryBytes: MEMORY_BYTES,
    boot: {
      kind: 'linux',
      kernel: readFileSync(kernelPath),
      initrd: readFileSync(initrdPath),
      append: manifest.append,
    },
    nics: [{ mac: macAddress(0) }],
    disks: [],
    rngSeed: new Uint8Array(32).fill(1),
    epochNs: BigInt(Date.now()) * 1_000_000n,
  })
  const inputs = new InputQueue()
  const total = { framesIn: 0, framesOut: 0, slices: 0, logBytes: 0 }
  const published = await claimPorts([{ hostAddress: '127.0.0.1', hostPort: 0, guestPort: REDIS_PORT }])
  const cable = await plugIn({ kind: 'user', published }, macAddress(0), {
    received: (frame) => {
      total.framesIn++
      inputs.push({ kind: 'net-rx', nic: 0, frame })
    },
    lost: (why) => process.stderr.write(`unplugged: ${why}\n`),
  })
  let said = ''
  let ready: () => void = () => undefined
  const booted = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ready guest: ${said}`)), BOOT_MS_MAX)
    ready = () => {
      clearTimeout(timer)
      resolve()
    }
  })
  const encoder = new FrameEncoder()
  const loop = new MachineLoop(machine, {
    inputs,
    consolePort: 'uart',
    canBeWoken: () => true,
    output: (made: MachineOutput) => {
      if (made.kind === 'net-tx') {
        total.framesOut++
        cable.send(made.frame)
      } else if (made.kind === 'entropy-request') {
        inputs.push({ kind: 'entropy', data: new Uint8Array(made.bytes).fill(3) })
      } else if (made.kind === 'console-tx') {
        said += Buffer.from(made.data).toString()
        if (said.includes('understudy: ready')) ready()
      }
      return undefined
    },
    frame: (frame) => {
      total.slices++
      total.logBytes += encoder.encode(frame).length
    },
    now: () => performance.now(),
  })
  const ended = loop.run()
  await booted
  const work: BulkWork = { port: published[0]!.hostPort, valueBytes: VALUE_BYTES }
  const client = new Worker(new URL('./bulk-client.ts', import.meta.url), { workerData: work })
  const answer = () => new Promise<void>((resolve) => client.once('message', () => resolve()))
  await answer()
  const counts = (): Counts => {
    const { user, system } = process.threadCpuUsage()
    return {
      ...total,
      ms: performance.now(),
      cpuMs: (user + system) / 1000,
      instructions: Number(machine.retired),
      dropped: inputs.netFramesDropped,
    }
  }
  return {
    transfer: async (direction) => {
      const before = counts()
      const request: BulkRequest = { direction, times: TIMES }
      client.postMessage(request)
      await answer()
      const after = counts()
      const names = Object.keys(before) as (keyof Counts)[]
      return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as unknown as Counts
    },
    stop: async () => {
      await client.terminate()
      loop.stop()
      await ended
      await cable.close()
    },
  }
}
