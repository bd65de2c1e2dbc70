// `npm start`: sets up what is missing, then runs the demonstration.
import { join } from 'node:path'
import { runInPlaceOf } from './node.mjs'
import { ensureSetup, ROOT, runSetupCommand } from './setup.mjs'

await runSetupCommand(() => {
  const node = ensureSetup()
  return runInPlaceOf(node, [join(ROOT, 'bin/understudy.mjs'), 'demo', ...process.argv.slice(2)])
})
