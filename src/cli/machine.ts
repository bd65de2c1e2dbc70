/**
 * `understudy machine`: one bare machine in the foreground, live or replayed. Standard output is the guest's
 * serial console and nothing else; whatever the program itself has to say goes to standard error.
 */
import { type Command, Option } from 'commander'
import { parseMemory, parsePublish } from '../cluster/sizes.ts'
import { RUN_BUDGET_MAX } from '../machine/machine.ts'
import { ENGINES, type Engine } from './machine-engine.ts'
import { MachineVerbError } from './machine-errors.ts'
import type { NicPlug } from './machine-network.ts'
import { replayLog } from './machine-replay.ts'
import { type RunOptions, runMachine } from './machine-run.ts'

interface CommonFlags {
  readonly digest?: true
  readonly engine?: Engine
  readonly slice?: number
  readonly console: 'uart' | 'virtio'
}

interface RunFlags extends CommonFlags {
  readonly kernel?: string
  readonly initrd?: string
  readonly append: string
  readonly bare?: string
  readonly memory: number
  readonly disk: readonly string[]
  readonly net: readonly string[]
  readonly publish: readonly string[]
  readonly record?: string
}

/** Other addresses than loopback would open the guest to the network without anybody asking for it. */
const PUBLISH_ADDRESS = '127.0.0.1'
const READ_ONLY_SUFFIX = ',ro'

export function registerMachineVerbs(program: Command): void {
  const machine = program.command('machine').description('run or replay one bare machine in the foreground')

  const run = machine
    .command('run')
    .description('run a machine; its serial console is stdin and stdout, Ctrl-A x ends it')
    .option('--kernel <file>', 'RISC-V Linux Image to boot')
    .option('--initrd <file>', 'initial root file system')
    .option('--append <line>', 'kernel command line', 'console=ttyS0')
    .option('--bare <elf>', 'bare-metal ELF, ends by writing `tohost`; exit status is value >> 1')
    .option('--memory <size>', 'guest RAM', parseMemory, parseMemory('512M'))
    .option('--disk <file>', 'raw disk image, `,ro` behind it for read-only; repeatable', append, [])
    .option(
      '--net <peer>',
      '`unix:/path` or `tcp:host:port` of a `-netdev stream` peer, or `user` for passt; repeatable',
      append,
      [],
    )
    .option(
      '--publish <host:guest>',
      'publish a port of the guest on loopback, through passt; repeatable',
      append,
      [],
    )
    .option('--record <log>', 'record everything a replay needs')
    .action(async (flags: RunFlags) => {
      const options = runOptions(flags, `understudy ${program.version() ?? ''}`.trim())
      const result = await runMachine(options, diagnostic)
      if (flags.digest) printDigest(result)
      process.exitCode = result.exitStatus
    })
  addCommonOptions(run)

  const replay = machine
    .command('replay')
    .description('replay a recorded log, comparing state as it goes; the console is on stdout')
    .argument('<log>', 'what `machine run --record` wrote, or a backup that diverged')
    .option('--snapshot <file>', 'the snapshot that the log starts at, unless it lies beside the log')
    .action(async (log: string, flags: CommonFlags & { readonly snapshot?: string }) => {
      const { console, engine = null, slice = null, snapshot = null } = flags
      const options = { log, snapshot, console, engine, maxRunInstructions: slice }
      const result = await replayLog(options, diagnostic)
      if (flags.digest) printDigest(result)
    })
  addCommonOptions(replay)
}

function addCommonOptions(command: Command): void {
  command
    .option(
      '--digest',
      'at the end, print digest and retired-instruction count on stderr as one line of JSON',
    )
    .addOption(
      new Option('--console <port>', 'the port that is the console')
        .choices(['uart', 'virtio'])
        .default('uart'),
    )
    .addOption(new Option('--engine <engine>', 'how instructions are carried out').choices(ENGINES))
    .option('--slice <instructions>', 'at most so many instructions in one call of the machine', parseSlice)
}

function append(value: string, values: readonly string[]): string[] {
  return [...values, value]
}

function parseSlice(text: string): number {
  const value = Number(text)
  if (/^[0-9]+$/.test(text) && value >= 1 && value <= RUN_BUDGET_MAX) return value
  throw new MachineVerbError('MACHINE_OPTIONS', `--slice takes 1 to ${RUN_BUDGET_MAX}, not ${text}.`)
}

function runOptions(flags: RunFlags, program: string): RunOptions {
  return {
    boot: bootOptions(flags),
    memoryBytes: flags.memory,
    disks: flags.disk.map((text) => {
      const readOnly = text.endsWith(READ_ONLY_SUFFIX)
      return { path: readOnly ? text.slice(0, -READ_ONLY_SUFFIX.length) : text, readOnly }
    }),
    nics: nicPlugs(flags),
    console: flags.console,
    record: flags.record ?? null,
    program,
    engine: flags.engine ?? null,
    maxRunInstructions: flags.slice ?? null,
  }
}

function bootOptions(flags: RunFlags): RunOptions['boot'] {
  const { kernel, initrd, append: line, bare } = flags
  if ((kernel === undefined) === (bare === undefined)) {
    throw new MachineVerbError('MACHINE_OPTIONS', 'Exactly one of --kernel and --bare says what to run.')
  }
  if (kernel !== undefined) return { kind: 'linux', kernel, initrd: initrd ?? null, append: line }
  if (initrd !== undefined) throw new MachineVerbError('MACHINE_OPTIONS', '--initrd needs --kernel.')
  return { kind: 'bare', elf: bare as string }
}

function nicPlugs(flags: RunFlags): NicPlug[] {
  const published = flags.publish.map((text) => ({ hostAddress: PUBLISH_ADDRESS, ...parsePublish(text) }))
  const user: NicPlug = { kind: 'user', published }
  const plugs = flags.net.map((peer): NicPlug => (peer === 'user' ? user : { kind: 'stream', address: peer }))
  const users = plugs.filter((plug) => plug === user).length
  if (users > 1) throw new MachineVerbError('MACHINE_OPTIONS', 'One --net user is enough for all ports.')
  return users === 0 && published.length > 0 ? [user, ...plugs] : plugs
}

function diagnostic(text: string): void {
  process.stderr.write(`understudy: ${text}\n`)
}

/** Written by hand, because JSON knows no bigint; the count stays a number for whoever parses it. */
function printDigest(state: { readonly digest: bigint; readonly retired: bigint }): void {
  const digest = state.digest.toString(16).padStart(16, '0')
  process.stderr.write(`{"digest":"${digest}","retired":${state.retired}}\n`)
}
