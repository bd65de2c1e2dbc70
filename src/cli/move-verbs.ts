/** `protect`, `unprotect`, `migrate`, `save` and `restore`: a running virtual machine changes its places, or is kept. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { OnProgress } from '../cluster/cluster.ts'
import { formatBytes, parseCloneRate, parsePublish } from '../cluster/sizes.ts'
import type { Publish } from '../cluster/vm-record.ts'
import type { VmStatus } from '../cluster/vm-status.ts'
import { findImage } from '../image/directory.ts'
import { readSnapshotConfig } from '../snapshot/file.ts'
import { type DirectoryFlag, inCluster, withDirectory } from './cluster-verbs.ts'
import { printJson } from './output.ts'
import { ProgressLine } from './progress.ts'
import { bootOf, POWER_OFF_INPUT } from './vm-boot.ts'

const ROLES = ['primary', 'backup'] as const

/** Of all clones of the machine from then on: those that restore its redundancy, too. */
const RATE = [
  '--rate <size>',
  'how much of its memory may be copied a second, such as 50M, from now on; or unlimited',
  parseCloneRate,
] as const

interface RateFlag {
  readonly rate?: number | null
}

interface MigrateFlags extends DirectoryFlag, RateFlag {
  readonly role: (typeof ROLES)[number]
  readonly to: string
}

export function registerMoveVerbs(program: Command): void {
  withDirectory(program.command('protect'))
    .description('give a running virtual machine a backup, and from now on a new one whenever it loses it')
    .argument('<name>')
    .option(...RATE)
    .action(async (name: string, flags: DirectoryFlag & RateFlag) => {
      const { backup } = await withProgress((onProgress) =>
        inCluster(flags, async (cluster) => {
          if (flags.rate !== undefined) await cluster.setCloneRate(name, flags.rate)
          return cluster.protect(name, onProgress)
        }),
      )
      process.stdout.write(`${name} is protected, its backup on ${backup?.host}\n`)
    })

  withDirectory(program.command('unprotect'))
    .description('let a running virtual machine go on without a backup')
    .argument('<name>')
    .action(async (name: string, flags: DirectoryFlag) => {
      await inCluster(flags, (cluster) => cluster.unprotect(name))
      process.stdout.write(`${name} is not protected\n`)
    })

  withDirectory(program.command('migrate'))
    .description('move a replica of a running virtual machine to another host, live')
    .argument('<name>')
    .addOption(new Option('--role <role>', 'which replica').choices(ROLES).default('primary'))
    .requiredOption('--to <host>', 'where to, see `understudy host ls`')
    .option(...RATE)
    .action(async (name: string, flags: MigrateFlags) => {
      await withProgress((onProgress) =>
        inCluster(flags, async (cluster) => {
          if (flags.rate !== undefined) await cluster.setCloneRate(name, flags.rate)
          return cluster.migrate(name, flags.role, flags.to, onProgress)
        }),
      )
      process.stdout.write(`the ${flags.role} of ${name} is on ${flags.to}\n`)
    })

  withDirectory(program.command('save'))
    .description('write a running virtual machine into a file on the host of its primary, while it runs')
    .argument('<name>')
    .argument('<file>')
    .option('--json', 'as JSON', false)
    .action(async (name: string, file: string, flags: DirectoryFlag & { json: boolean }) => {
      const saved = await inCluster(flags, (cluster) => cluster.save(name, resolve(file)))
      if (flags.json) printJson(saved)
      else {
        const seconds = (saved.durationMs / 1000).toFixed(1)
        const stop = saved.stopMsMax.toFixed(1)
        process.stdout.write(
          `${name} saved to ${saved.path}: ${formatBytes(saved.bytes)} in ${seconds} s; it stood still for ${stop} ms at most\n`,
        )
      }
    })

  registerRestore(program)
}

interface RestoreFlags extends DirectoryFlag {
  readonly name: string
  readonly image: string
  readonly publish: readonly Publish[]
  readonly protect: boolean
}

function registerRestore(program: Command): void {
  withDirectory(program.command('restore'))
    .description('start a virtual machine that goes on where a saved one was')
    .argument('<file>', 'what `understudy save` wrote')
    .requiredOption('--name <name>', 'name of the virtual machine')
    .option('--image <image>', 'what it boots when it resets itself', 'tiny')
    .option(
      '--publish <hostport:guestport>',
      'make a port of the guest reachable on loopback; repeatable',
      (text: string, list: readonly Publish[]) => [...list, parsePublish(text)],
      [],
    )
    .option('--no-protect', 'run without a backup')
    .action(async (file: string, flags: RestoreFlags) => {
      const snapshot = resolve(file)
      const { memoryBytes, boot } = readSnapshotConfig(snapshot)
      const image = await findImage(flags.image)
      const start = {
        snapshot,
        digest: boot.digest.toString(16).padStart(16, '0'),
        machineVersion: null,
        identity: null,
      }
      const status = await inCluster(flags, (cluster) =>
        cluster.run({
          name: flags.name,
          image: flags.image,
          boot: bootOf(image, flags.name, undefined),
          start,
          powerOffInput: POWER_OFF_INPUT,
          memoryBytes,
          publish: flags.publish,
          protect: flags.protect,
        }),
      )
      process.stdout.write(`${flags.name} goes on: ${status.state}, ${status.protection}\n`)
    })
}

async function withProgress(work: (onProgress: OnProgress) => Promise<VmStatus>): Promise<VmStatus> {
  const line = new ProgressLine()
  try {
    return await work((status) => line.show(status))
  } finally {
    line.end()
  }
}
