/** `events`: what happened, and what happens. */
import type { Command } from 'commander'
import { EventReader } from '../cluster/events.ts'
import { ClusterLayout, stateDirectory } from '../cluster/layout.ts'
import type { UnderstudyEvent } from '../replica/event-log.ts'
import { type DirectoryFlag, withDirectory } from './cluster-verbs.ts'

interface EventFlags extends DirectoryFlag {
  readonly follow: boolean
  readonly json: boolean
}

export function registerEventVerbs(program: Command): void {
  withDirectory(program.command('events'))
    .description('show what happened to virtual machines, also while the cluster is down')
    .option('-f, --follow', 'go on as events come, until Ctrl-C', false)
    .option('--json', 'one JSON object a line', false)
    .action(async (flags: EventFlags) => {
      const directory = stateDirectory(flags.dir)
      const reader = new EventReader(new ClusterLayout(directory))
      const print = (event: UnderstudyEvent) =>
        process.stdout.write(`${flags.json ? JSON.stringify(event) : describeEvent(event)}\n`)
      if (!flags.follow) {
        const events = await reader.read()
        for (const event of events) print(event)
        if (events.length === 0) process.stderr.write(`nothing has happened yet in ${directory}\n`)
        return
      }
      const stop = new AbortController()
      process.once('SIGINT', () => stop.abort())
      process.once('SIGTERM', () => stop.abort())
      // A reader that went away (`| head`) ends this as well.
      process.stdout.on('error', () => stop.abort())
      for await (const event of reader.follow(stop.signal)) print(event)
    })
}

/** `12:03:04.567 demo went-live on host-2: generation=2 …`. */
export function describeEvent(event: UnderstudyEvent): string {
  const { time, vm, type, host, ...details } = event
  const words = Object.entries(details)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => `${name}=${typeof value === 'number' ? Math.round(value * 10) / 10 : value}`)
  return `${time.slice(11, 23)} ${vm ?? 'cluster'} ${type} on ${host}: ${words.join(' ')}`
}
