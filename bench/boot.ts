/**
 * The boot of `tiny`, unprotected and with nothing recorded: from the start of the process to the first line of its
 * /init and to the line it prints when its servers answer. QEMU boots the very same kernel, initrd and command line.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { buildImage } from '../src/image/build.ts'
import type { OpenedImage } from '../src/image/directory.ts'
import { progressDisplay } from '../src/image/progress.ts'
import { qemuVersion } from '../test/isa/qemu.ts'
import { progress, type Report, type Row } from './report.ts'
import { summarize } from './statistics.ts'

const UNDERSTUDY = join(import.meta.dirname, '../bin/understudy.mjs')
const BOOT_MS_MAX = 120_000
const MEMORY_MIB = 512

/** What tiny's /init prints. */
const MILESTONES = { 'first line of /init': 'understudy: init', ready: 'understudy: ready' } as const
type Milestone = keyof typeof MILESTONES

const AIMS: { readonly [figure: string]: string } = { 'regions, first line of /init': 'under 8 s' }

interface Boot {
  readonly seconds: { readonly [milestone in Milestone]: number }
  readonly stderr: string
}

export async function measureBoot(rounds: number): Promise<Report> {
  const image = await buildImage('tiny', { progress: progressDisplay(process.stderr) })
  const version = await qemuVersion()
  const engines: { name: string; boot: () => Promise<Boot> }[] = [
    { name: 'regions', boot: () => bootHere(image, 'regions') },
    { name: 'interpreter', boot: () => bootHere(image, 'interpreter') },
  ]
  if (version !== null) engines.push({ name: 'qemu', boot: () => bootQemu(image) })
  const seconds = new Map<string, number[]>()
  const retired: number[] = []
  for (let round = 1; round <= rounds; round++) {
    for (const { name, boot } of engines) {
      progress(`boot with ${name}, round ${round} of ${rounds}`)
      const { seconds: took, stderr } = await boot()
      for (const [milestone, value] of Object.entries(took)) {
        const figure = `${name}, ${milestone}`
        seconds.set(figure, [...(seconds.get(figure) ?? []), value])
      }
      const count = /"retired":([0-9]+)/.exec(stderr)?.[1]
      if (name === 'regions' && count !== undefined) retired.push(Number(count) / 1e6)
    }
  }
  const rows = [...seconds].map(([figure, values]): Row => {
    const aim = figure in AIMS ? { aim: AIMS[figure] } : {}
    return { figure, unit: 's', value: summarize(values), ...aim }
  })
  rows.push({ figure: 'regions, retired when ready', unit: '10^6', value: summarize(retired) })
  const notes = [`The guest has ${MEMORY_MIB} MiB. Seconds count from the start of the process.`]
  notes.push(version === null ? 'QEMU is not installed.' : `Beside ${version} with its own OpenSBI.`)
  return { subject: 'boot', rows, notes }
}

function bootHere(image: OpenedImage, engine: 'regions' | 'interpreter'): Promise<Boot> {
  const { kernelPath, initrdPath, manifest } = image
  return watchBoot(process.execPath, [
    ...[UNDERSTUDY, 'machine', 'run', '--kernel', kernelPath, '--initrd', initrdPath],
    ...['--append', manifest.append, '--memory', `${MEMORY_MIB}M`, '--engine', engine, '--digest'],
  ])
}

function bootQemu(image: OpenedImage): Promise<Boot> {
  const { kernelPath, initrdPath, manifest } = image
  return watchBoot('qemu-system-riscv64', [
    ...['-M', 'virt', '-m', String(MEMORY_MIB), '-nodefaults', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', kernelPath, '-initrd', initrdPath, '-append', manifest.append],
  ])
}

/** Ends the machine once it has reached the last milestone. */
async function watchBoot(command: string, args: readonly string[]): Promise<Boot> {
  const startedMs = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const seconds: { [milestone: string]: number } = {}
  let console = ''
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    console += text
    for (const [milestone, line] of Object.entries(MILESTONES)) {
      if (milestone in seconds || !console.includes(line)) continue
      seconds[milestone] = (performance.now() - startedMs) / 1000
    }
    if ('ready' in seconds) child.kill('SIGTERM')
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), BOOT_MS_MAX)
  await once(child, 'close')
  clearTimeout(timer)
  if (!('ready' in seconds)) {
    throw new Error(
      `${command} did not boot: ${stderr.trim()}\nits console ends with: ${console.slice(-500)}`,
    )
  }
  return { seconds: seconds as Boot['seconds'], stderr }
}
