/** All verbs of the command line put together. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { registerClusterVerbs } from './cluster-verbs.ts'
import { registerConsoleVerb } from './console-verb.ts'
import { registerDemoVerb } from './demo.ts'
import { registerEventVerbs } from './event-verbs.ts'
import { EXIT_USAGE, reportError } from './exit-codes.ts'
import { registerImageVerbs } from './image-verbs.ts'
import { registerMachineVerbs } from './machine.ts'
import { registerVmVerbs } from './vm-verbs.ts'

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

/** Runs the command that the process was started with; failures end as an exit code. */
export async function runProgram(): Promise<void> {
  const program = new Command('understudy')
    .description('Fault-tolerant virtual machines: a guest that outlives its host.')
    .version(version())
    .showHelpAfterError('(--help tells more)')
    .addHelpText('after', FIRST_STEPS)
    // Commander's own errors are about the command line; help and version are none.
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))

  registerClusterVerbs(program)
  registerVmVerbs(program)
  registerConsoleVerb(program)
  registerEventVerbs(program)
  registerImageVerbs(program)
  registerMachineVerbs(program)
  registerDemoVerb(program)

  try {
    await program.parseAsync()
  } catch (error) {
    process.exitCode = reportError(error, (text) => process.stderr.write(text))
  }
}
