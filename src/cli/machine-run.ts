/** `understudy machine run`: one live machine, its console on this terminal, until it powers off. */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import type { BootConfig, MachineConfig } from '../machine/config.ts'
import type { ConsolePort, MachineOutput } from '../machine/io.ts'
import type { Machine } from '../machine/machine.ts'
import { LOG_IMAGE_BYTES_MAX } from '../replay/log-header.ts'
import { releaseImages } from '../replica/machine-source.ts'
import { RawDisk } from '../storage/raw-disk.ts'
import { ProcessConsole } from './machine-console.ts'
import { serveDisk } from './machine-disks.ts'
import { createMachineFor, type Engine } from './machine-engine.ts'
import { LogFileWriter, readImage } from './machine-files.ts'
import { InputQueue } from './machine-inputs.ts'
import { MachineLoop } from './machine-loop.ts'
import { type Cable, macAddress, type NicPlug, plugIn } from './machine-network.ts'

export interface RunOptions {
  readonly boot:
    | {
        readonly kind: 'linux'
        readonly kernel: string
        readonly initrd: string | null
        readonly append: string
      }
    | { readonly kind: 'bare'; readonly elf: string }
  readonly memoryBytes: number
  readonly disks: readonly { readonly path: string; readonly readOnly: boolean }[]
  readonly nics: readonly NicPlug[]
  readonly console: ConsolePort
  /** Where to record, or null. */
  readonly record: string | null
  readonly program: string
  readonly engine: Engine | null
  readonly maxRunInstructions: number | null
}

export interface RunResult {
  /** For this process: the guest's exit status, or 128 and the number of the signal that ended it. */
  readonly exitStatus: number
  readonly digest: bigint
  readonly retired: bigint
}

/** The kernel takes 256 bits; more is mixed in as well. */
const RNG_SEED_BYTES = 64
const NANOSECONDS_PER_MS = 1_000_000n
/** Exit statuses are a byte. A larger one is a failure and must not come out as 0. */
const EXIT_STATUS_MAX = 255
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** Asks how far the machine is, as dd does: the count of retired instructions goes to stderr as a line of JSON. */
const COUNT_SIGNAL = 'SIGUSR2'

/** `diagnostic` gets sentences for stderr. */
export async function runMachine(
  options: RunOptions,
  diagnostic: (text: string) => void,
): Promise<RunResult> {
  const disks: RawDisk[] = []
  const cables: Cable[] = []
  try {
    for (const { path, readOnly } of options.disks) disks.push(await RawDisk.open(path, { readOnly }))
    const config: MachineConfig = {
      memoryBytes: options.memoryBytes,
      boot: readBoot(options.boot),
      nics: options.nics.map((_, index) => ({ mac: macAddress(index) })),
      disks: disks.map(({ sizeBytes, readOnly }) => ({ sizeBytes, readOnly })),
      rngSeed: Uint8Array.from(randomBytes(RNG_SEED_BYTES)),
      epochNs: BigInt(Date.now()) * NANOSECONDS_PER_MS,
    }
    // A recording holds the images, and must be of these whatever becomes of the files.
    const keepsImages = options.record !== null
    const reload = keepsImages ? undefined : () => readBoot(options.boot)
    const machine = createMachineFor(config, options.engine, reload)
    if (!keepsImages) releaseImages(config)
    const inputs = new InputQueue()
    for (const [nic, plug] of options.nics.entries()) {
      const events = {
        received: (frame: Uint8Array) => inputs.push({ kind: 'net-rx', nic, frame }),
        lost: (why: string) => {
          diagnostic(`NIC ${nic} is unplugged: ${why}`)
          inputs.wakeUp()
        },
      }
      cables.push(await plugIn(plug, config.nics[nic].mac, events))
    }
    const log = options.record === null ? null : new LogFileWriter(options.record, config, options.program)
    const exitStatus = await live(machine, options, { inputs, disks, cables, log, diagnostic })
    const digest = machine.fullDigest()
    log?.end(digest)
    if (inputs.netFramesDropped > 0)
      diagnostic(`${inputs.netFramesDropped} network frames came too fast and were dropped`)
    return { exitStatus, digest, retired: machine.retired }
  } finally {
    for (const cable of cables) await cable.close()
    for (const disk of disks) await disk.close()
  }
}

interface Outside {
  readonly inputs: InputQueue
  readonly disks: readonly RawDisk[]
  readonly cables: readonly Cable[]
  readonly log: LogFileWriter | null
  readonly diagnostic: (text: string) => void
}

/** Runs the machine to its end and returns the exit status. */
async function live(machine: Machine, options: RunOptions, outside: Outside): Promise<number> {
  const { inputs, disks, cables, log, diagnostic } = outside
  const diskRequests = new Set<Promise<void>>()
  let endedBy: number | null = null
  let loop: MachineLoop | null = null
  const terminal = new ProcessConsole({
    typed: (data) => {
      inputs.type(data)
      terminal.paused = inputs.consoleFull
    },
    quit: () => {
      endedBy = 0
      loop?.stop()
    },
    ended: () => inputs.wakeUp(),
  })
  const output = (made: MachineOutput): Promise<void> | undefined => {
    switch (made.kind) {
      case 'console-tx':
        return made.port === options.console ? terminal.write(made.data) : undefined
      case 'net-tx':
        cables[made.nic]?.send(made.frame)
        return
      case 'entropy-request':
        inputs.push({ kind: 'entropy', data: Uint8Array.from(randomBytes(made.bytes)) })
        return
      case 'disk-read':
      case 'disk-write':
      case 'disk-flush': {
        const failed = (error: unknown) => diagnostic(`a disk request failed: ${error}`)
        const request = serveDisk(disks, made, failed).then((input) => {
          diskRequests.delete(request)
          inputs.push(input)
        })
        diskRequests.add(request)
        return
      }
      case 'power':
        if (made.action === 'reset') diagnostic('the guest resets itself')
    }
  }
  loop = new MachineLoop(
    machine,
    {
      inputs,
      consolePort: options.console,
      canBeWoken: () =>
        terminal.inputOpen || diskRequests.size > 0 || !inputs.isEmpty || cables.some(({ isOpen }) => isOpen),
      output,
      frame: (frame) => {
        terminal.paused = inputs.consoleFull
        log?.frame(frame)
      },
      now: () => performance.now(),
    },
    options.maxRunInstructions === null ? {} : { maxRunInstructions: options.maxRunInstructions },
  )
  const onSignal = (signal: NodeJS.Signals) => {
    endedBy = 128 + constants.signals[signal]
    loop?.stop()
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  const onCount = () => process.stderr.write(`{"retired":${machine.retired}}\n`)
  process.on(COUNT_SIGNAL, onCount)
  try {
    if (terminal.isTerminal) diagnostic('Ctrl-A x ends the machine\r')
    const power = await loop.run()
    // A write that the guest made before it powered off shall be on the disk afterwards.
    await Promise.all(diskRequests)
    return power === null ? (endedBy ?? 0) : Math.min(power.exitStatus, EXIT_STATUS_MAX)
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal)
    process.off(COUNT_SIGNAL, onCount)
    terminal.close()
  }
}

function readBoot(boot: RunOptions['boot']): BootConfig {
  const read = (path: string) => readImage(path, LOG_IMAGE_BYTES_MAX)
  if (boot.kind === 'bare') return { kind: 'bare', elf: read(boot.elf) }
  const { kernel, initrd, append } = boot
  return { kind: 'linux', kernel: read(kernel), initrd: initrd === null ? null : read(initrd), append }
}
