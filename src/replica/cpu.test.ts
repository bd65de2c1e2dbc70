import { afterEach, expect, test } from 'vitest'
import { ECHO_ETHERTYPE, echoReply, echoRequest } from '../../test/echo-machine.ts'
import { Cpu } from './cpu.ts'
import type { CpuReport } from './thread-messages.ts'
import { monotonicMs } from './thread-messages.ts'

const guest = Uint8Array.of(2, 0, 0, 0, 0, 1)
const client = Uint8Array.of(2, 0, 0, 0, 0, 9)
const machine = {
  memoryBytes: 16 * 1024 * 1024,
  boot: { kind: 'bare', elf: new Uint8Array() },
  nics: [{ mac: guest }],
  disks: [],
  rngSeed: new Uint8Array(32).fill(7),
} as const
const machineModule = new URL('../../test/echo-machine.ts', import.meta.url).href

const started: Cpu[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((cpu) => cpu.end()))
})

/** A CPU thread whose reports can be awaited. */
function start(live: boolean) {
  const reports: CpuReport[] = []
  let wake: () => void = () => {}
  const cpu = Cpu.start({
    machineModule,
    machine,
    live,
    onReport: (report) => {
      reports.push(report)
      if (report.kind === 'recorded') {
        for (const output of report.outputs) {
          if (output.kind === 'entropy-request') {
            cpu.send({
              kind: 'input',
              input: { kind: 'entropy', data: new Uint8Array(output.bytes).fill(5) },
            })
          }
        }
      }
      wake()
    },
  })
  started.push(cpu)
  const until = async <T>(find: (reports: CpuReport[]) => T | undefined): Promise<T> => {
    for (;;) {
      const found = find(reports)
      if (found !== undefined) return found
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { cpu, reports, until }
}

function replyIn(reports: CpuReport[], id: number) {
  for (const report of reports) {
    if (report.kind !== 'recorded' && report.kind !== 'replayed') continue
    for (const output of report.outputs) {
      if (output.kind === 'net-tx' && echoReply(output.frame)?.id === id)
        return { report, frame: output.frame }
    }
  }
  return undefined
}

test('a live machine serves inputs; a replay of its frames agrees and goes on where it ended', async () => {
  const primary = start(true)
  primary.cpu.send({ kind: 'run', run: true })
  for (let id = 1; id <= 20; id++) {
    primary.cpu.send({
      kind: 'input',
      input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, id) },
    })
    const { frame } = await primary.until((reports) => replyIn(reports, id))
    expect(echoReply(frame)).toEqual({ id, count: id })
    expect(new DataView(frame.buffer, frame.byteOffset).getUint16(12)).toBe(ECHO_ETHERTYPE)
  }
  await primary.cpu.end()

  const frames = primary.reports.filter((report) => report.kind === 'recorded')
  expect(frames.map((frame) => frame.sequence)).toEqual(frames.map((_, i) => i))
  const backup = start(false)
  for (const { bytes } of frames) backup.cpu.send({ kind: 'frame', bytes, arrivedMs: monotonicMs() })
  backup.cpu.send({ kind: 'go-live' })
  backup.cpu.send({ kind: 'run', run: true })
  backup.cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, 21) } })
  const { report, frame } = await backup.until((reports) => replyIn(reports, 21))
  expect(echoReply(frame)).toEqual({ id: 21, count: 21 })
  expect(report.kind).toBe('recorded')
  const outputs = (kind: string) =>
    (kind === 'recorded' ? frames : backup.reports.filter((r) => r.kind === 'replayed')).flatMap(
      (r) => r.outputs,
    )
  expect(outputs('replayed')).toEqual(outputs('recorded'))
  expect(backup.reports.find((r) => r.kind === 'live')).toEqual({ kind: 'live', pending: [] })
})

test('a frame that is not what happened is a divergence, at its number', async () => {
  const primary = start(true)
  primary.cpu.send({ kind: 'run', run: true })
  const first = await primary.until((reports) => reports.find((r) => r.kind === 'recorded'))
  await primary.cpu.end()
  const backup = start(false)
  // The same frame under a machine of another seed ends in another state.
  const other = Cpu.start({
    machineModule,
    machine: { ...machine, rngSeed: new Uint8Array(32).fill(8) },
    live: false,
    onReport: (report) => backup.reports.push(report),
  })
  started.push(other)
  other.send({ kind: 'frame', bytes: first.bytes, arrivedMs: monotonicMs() })
  await expect.poll(() => backup.reports.find((r) => r.kind === 'diverged')).toMatchObject({ sequence: 0 })
})

test('a live machine that is idle or told to stop runs no slices', async () => {
  const { cpu, reports, until } = start(true)
  await until((all) => all.find((r) => r.kind === 'ready'))
  cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, 1) } })
  expect(reports.some((r) => r.kind === 'recorded')).toBe(false)
  cpu.send({ kind: 'run', run: true })
  await until((all) => replyIn(all, 1))
  const before = reports.length
  const startMs = monotonicMs()
  await until((all) => (all.length >= before + 6 ? true : undefined))
  // Idle, it wakes for its timer every 100 ms of guest time, which is host time.
  expect(monotonicMs() - startMs).toBeGreaterThan(150)
})

/** Throttled to this a machine naps for hours: only being woken ends that. */
const HARDLY_ANY = 1e-6

test('a throttled machine that naps is woken by a new share, and an input need not wait for the end of a nap', async () => {
  const { cpu, reports, until } = start(true)
  cpu.send({ kind: 'throttle', share: HARDLY_ANY })
  cpu.send({ kind: 'run', run: true })
  await until((all) => all.find((r) => r.kind === 'recorded'))
  // Its time is used up far in advance by now: an input waits like everything else.
  cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, 1) } })
  expect(replyIn(reports, 1)).toBeUndefined()
  cpu.send({ kind: 'throttle', share: 1 })
  await until((all) => replyIn(all, 1))
  cpu.send({ kind: 'throttle', share: 0.9 })
  cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, 2) } })
  await until((all) => replyIn(all, 2))
})

test('a backup that is made slow replays the same, and is fast again as soon as it may be', async () => {
  const primary = start(true)
  primary.cpu.send({ kind: 'run', run: true })
  primary.cpu.send({ kind: 'input', input: { kind: 'net-rx', nic: 0, frame: echoRequest(guest, client, 1) } })
  await primary.until((reports) => replyIn(reports, 1))
  await primary.cpu.end()
  const frames = primary.reports.filter((report) => report.kind === 'recorded')
  const backup = start(false)
  backup.cpu.controls.replayShare = HARDLY_ANY
  for (const { bytes } of frames) backup.cpu.send({ kind: 'frame', bytes, arrivedMs: monotonicMs() })
  await backup.until((reports) => reports.find((r) => r.kind === 'ready'))
  expect(backup.reports.some((r) => r.kind === 'replayed')).toBe(false)
  backup.cpu.controls.replayShare = 1
  await backup.until((reports) => replyIn(reports, 1))
})

test('a machine that cannot be made is reported with a code', async () => {
  const reports: CpuReport[] = []
  const cpu = Cpu.start({
    machineModule: 'file:///no/such/module.ts',
    machine,
    live: true,
    onReport: (report) => reports.push(report),
  })
  started.push(cpu)
  await expect.poll(() => reports.at(-1)).toMatchObject({ kind: 'failed', code: 'MACHINE_FAILED' })
})
