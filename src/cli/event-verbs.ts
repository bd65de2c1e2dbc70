/** `events`: what happened, and what happens. */
import type { Command } from 'commander'
import { EventHistory } from '../cluster/event-history.ts'
import { ClusterLayout, stateDirectory } from '../cluster/layout.ts'
import { readClusterState } from '../cluster/lifecycle.ts'
import { checkVmName } from '../cluster/vm-record.ts'
import type { UnderstudyEvent } from '../replica/event-log.ts'
import { openStore } from '../store/open.ts'
import { type Store, StoreError } from '../store/store.ts'
import { type DirectoryFlag, withDirectory } from './cluster-verbs.ts'

interface EventFlags extends DirectoryFlag {
  readonly follow: boolean
  readonly json: boolean
}

export function registerEventVerbs(program: Command): void {
  withDirectory(program.command('events'))
    .description('show what happened to virtual machines, also while the cluster is down or hosts are lost')
    .argument('[name]', 'only what happened to this virtual machine')
    .option('-f, --follow', 'go on as events come, until Ctrl-C', false)
    .option('--json', 'one JSON object a line', false)
    .action(async (name: string | undefined, flags: EventFlags) => {
      if (name !== undefined) checkVmName(name)
      const directory = stateDirectory(flags.dir)
      const layout = new ClusterLayout(directory)
      const onProblem = (message: string) =>
        process.stderr.write(`events of lost hosts may be missing: ${message}\n`)
      const store = await storeOf(layout, onProblem)
      const history = new EventHistory({ layout, store, onProblem, ...(name !== undefined && { vm: name }) })
      const print = (event: UnderstudyEvent) =>
        process.stdout.write(`${flags.json ? JSON.stringify(event) : describeEvent(event)}\n`)
      try {
        if (flags.follow) await follow(history, print)
        else if ((await printAll(history, print)) === 0)
          process.stderr.write(
            `nothing has happened yet${name === undefined ? '' : ` to ${name}`} in ${directory}\n`,
          )
      } finally {
        await store?.close()
      }
    })
}

/** Without a store there are still the files of the hosts at hand. */
async function storeOf(layout: ClusterLayout, onProblem: (message: string) => void): Promise<Store | null> {
  try {
    return await openStore(readClusterState(layout)?.store ?? layout.store)
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    // Where no cluster was ever started nothing is missing.
    if (error.code !== 'STORE_NOT_FOUND') onProblem(error.message)
    return null
  }
}

async function printAll(history: EventHistory, print: (event: UnderstudyEvent) => void): Promise<number> {
  const events = await history.read()
  for (const event of events) print(event)
  return events.length
}

async function follow(history: EventHistory, print: (event: UnderstudyEvent) => void): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  // A reader that went away (`| head`) ends this as well.
  process.stdout.on('error', () => stop.abort())
  for await (const event of history.follow(stop.signal)) print(event)
}

/** `12:03:04.567 demo went-live on host-2: generation=2 …`; without a name for what happens to a host. */
export function describeEvent(event: UnderstudyEvent): string {
  const { time, vm, type, host, ...details } = event
  const words = Object.entries(details)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => `${name}=${typeof value === 'number' ? Math.round(value * 10) / 10 : value}`)
  const what = [time.slice(11, 23), vm, type, 'on', host].filter((word) => word !== '').join(' ')
  return `${what}: ${words.join(' ')}`
}
