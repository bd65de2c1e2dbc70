/**
 * From the command (or the call) that starts a machine to the first answer over TCP, from a snapshot of the booted
 * image; and what saving and restoring that machine takes.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { POWER_OFF_INPUT, startOf } from '../src/cli/vm-boot.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { createMachine } from '../src/machine/create.ts'
import { readSnapshotConfig, restoreFromFile, writeSnapshot } from '../src/snapshot/file.ts'
import { saveMachine } from '../src/snapshot/writer.ts'
import type { TestCluster } from '../test/test-cluster.ts'
import { inMeasuredCluster } from './measured-cluster.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const UNDERSTUDY = join(import.meta.dirname, '../bin/understudy.mjs')
const HTTP_PORT = 80
const ANSWER_MS_MAX = 60_000
/** A connection that came too early is lost; the next one shall not wait for it. */
const ATTEMPT_MS_MAX = 2_000
const ATTEMPT_INTERVAL_MS = 20
const ATTEMPTS_AT_ONCE_MAX = 3
/** Between rounds, so that the host has its next process ready. */
const PAUSE_MS = 5_000

export async function measureStart(rounds: number): Promise<Report> {
  const figures = new Map<string, number[]>()
  const add = (figure: string, value: number): void => {
    figures.set(figure, [...(figures.get(figure) ?? []), value])
  }
  await inMeasuredCluster(async (world, image) => {
    const memoryBytes = image.manifest.memoryMiB * 1024 * 1024
    const start = await startOf({ image, name: 'measured', memoryBytes })
    if (start === null) throw new Error('tiny cannot be saved')
    for (let round = 1; round <= rounds; round++) {
      progress(`start, round ${round} of ${rounds}`)
      for (const protect of [false, true]) {
        const kind = protect ? 'protected' : 'unprotected'
        await pause()
        add(`command to answer, ${kind}`, await byCommand(world, protect))
        await pause()
        add(`call to answer, ${kind}`, await byCall(world, image, protect))
      }
      saveAndRestore(start.snapshot, add)
    }
  })
  const rows = [...figures].map(([figure, values]): Row => {
    const unit = figure.endsWith('size') ? 'MiB' : 'ms'
    const aim = figure.includes('to answer') ? { aim: 'under 500 ms' } : {}
    return { figure, unit, value: summarize(values), ...aim }
  })
  const notes = ['tiny with its own memory size; the answer is that of its web server to a first GET.']
  return { subject: 'start', rows, notes }
}

async function byCommand(world: TestCluster, protect: boolean): Promise<number> {
  const port = await freePort()
  const flags = protect ? [] : ['--no-protect']
  const sinceMs = performance.now()
  const args = [
    'run',
    'tiny',
    '--name',
    'measured',
    '--publish',
    `${port}:${HTTP_PORT}`,
    '--dir',
    world.directory,
  ]
  const child = spawn(process.execPath, [UNDERSTUDY, ...args, ...flags], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = once(child, 'exit').then(([status]) => {
    if (status !== 0) throw new Error(`understudy run ended with ${status}`)
  })
  const [tookMs] = await Promise.all([answered(port, sinceMs), ended])
  await world.cluster.remove('measured', { force: true })
  return tookMs
}

async function byCall(world: TestCluster, image: OpenedImage, protect: boolean): Promise<number> {
  const port = await freePort()
  const memoryBytes = image.manifest.memoryMiB * 1024 * 1024
  const sinceMs = performance.now()
  const running = world.cluster.run({
    name: 'measured',
    image: image.manifest.name,
    boot: null,
    start: await startOf({ image, name: 'measured', memoryBytes }),
    powerOffInput: POWER_OFF_INPUT,
    memoryBytes,
    publish: [{ hostPort: port, guestPort: HTTP_PORT }],
    protect,
  })
  const [tookMs] = await Promise.all([answered(port, sinceMs), running])
  await world.cluster.remove('measured', { force: true })
  return tookMs
}

/** Restores the booted machine in this process and saves it again, as it is and compressed. */
function saveAndRestore(snapshot: string, add: (figure: string, value: number) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'us-start-'))
  try {
    const config = readSnapshotConfig(snapshot)
    const restore = (file: string) => {
      const machine = createMachine(config)
      const sinceMs = performance.now()
      restoreFromFile(file, machine, config.boot)
      return { machine, tookMs: performance.now() - sinceMs }
    }
    for (const compress of [false, true]) {
      const kind = compress ? 'compressed' : 'as it is'
      const { machine } = restore(snapshot)
      const file = join(directory, kind)
      const sinceMs = performance.now()
      const bytes = writeSnapshot(file, saveMachine(machine, { program: 'measure', compress }))
      add(`save, ${kind}`, performance.now() - sinceMs)
      add(`restore, ${kind}`, restore(file).tookMs)
      add(`${kind}, size`, bytes / 2 ** 20)
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** Milliseconds since `sinceMs` at the first answer of the guest's web server. */
function answered(port: number, sinceMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let attempts = 0
    const finish = (): void => clearInterval(timer)
    const timer = setInterval(() => {
      if (performance.now() - sinceMs > ANSWER_MS_MAX) {
        finish()
        reject(new Error(`no answer at port ${port} in ${ANSWER_MS_MAX} ms`))
      }
      if (attempts >= ATTEMPTS_AT_ONCE_MAX) return
      attempts++
      void attempt(port).then((answers) => {
        attempts--
        if (!answers) return
        finish()
        resolve(performance.now() - sinceMs)
      })
    }, ATTEMPT_INTERVAL_MS)
  })
}

function attempt(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.setTimeout(ATTEMPT_MS_MAX, () => socket.destroy())
    socket.on('connect', () => socket.write('GET / HTTP/1.0\r\n\r\n'))
    socket.on('data', (data) => {
      resolve(data.includes('200 OK'))
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
    socket.on('close', () => resolve(false))
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
