/** All verbs of the command line put together. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { EXIT_USAGE, reportError } from './exit-codes.ts'

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

const FIRST_STEPS = `
First steps:
  understudy image build tiny
  understudy up
  understudy run tiny --name web --publish 8080:80
  understudy ps                              then kill -9 the primary's process
  understudy events
  understudy down
`

type Register = (program: Command) => void

/** Groups of verbs in the order of the help text, each loaded only when it is needed: half of a command's time is loading. */
const GROUPS: readonly { readonly verbs: string; readonly load: () => Promise<Register> }[] = [
  { verbs: 'up down', load: async () => (await import('./cluster-verbs.ts')).registerClusterVerbs },
  {
    verbs: 'stop rm failover restart pause resume limit run ps info',
    load: async () => (await import('./vm-verbs.ts')).registerVmVerbs,
  },
  {
    verbs: 'protect unprotect migrate save restore',
    load: async () => (await import('./move-verbs.ts')).registerMoveVerbs,
  },
  { verbs: 'cluster', load: async () => (await import('./security-verbs.ts')).registerSecurityVerbs },
  { verbs: 'gateway', load: async () => (await import('./gateway-verb.ts')).registerGatewayVerb },
  { verbs: 'host', load: async () => (await import('./host-verbs.ts')).registerHostVerbs },
  { verbs: 'console', load: async () => (await import('./console-verb.ts')).registerConsoleVerb },
  { verbs: 'events', load: async () => (await import('./event-verbs.ts')).registerEventVerbs },
  { verbs: 'image', load: async () => (await import('./image-verbs.ts')).registerImageVerbs },
  { verbs: 'machine', load: async () => (await import('./machine.ts')).registerMachineVerbs },
  { verbs: 'demo', load: async () => (await import('./demo.ts')).registerDemoVerb },
]

/** Who registers a verb; all of them where no verb of ours was named, for the help and for errors. */
function verbsFor(verb: string | undefined): Promise<Register[]> {
  const group = GROUPS.find(({ verbs }) => verb !== undefined && verbs.split(' ').includes(verb))
  return Promise.all((group === undefined ? GROUPS : [group]).map(({ load }) => load()))
}

/** Runs the command that the process was started with; failures end as an exit code. */
export async function runProgram(): Promise<void> {
  const program = new Command('understudy')
    .description('Fault-tolerant virtual machines: a guest that outlives its host.')
    .version(version())
    .showHelpAfterError('(--help tells more)')
    .addHelpText('after', FIRST_STEPS)
    // Commander's own errors are about the command line; help and version are none.
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))

  for (const register of await verbsFor(process.argv[2])) register(program)
  try {
    await program.parseAsync()
  } catch (error) {
    process.exitCode = reportError(error, (text) => process.stderr.write(text))
  }
}
