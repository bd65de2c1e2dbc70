// `npm test`: sets up what is missing, then runs every check and test, and ends with one line that counts them:
//
//     N passed, N failed
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { ensureSetup, ROOT, runSetupCommand } from './setup.mjs'

await runSetupCommand(() => {
  const node = ensureSetup({ test: true })
  const run = runner(node)
  const checks = [
    check('lint', () => run('node_modules/.bin/biome', ['check', '.'])),
    check('types', () => run('node_modules/.bin/tsc', ['--noEmit'])),
    // Does nothing when the image is there.
    check('image tiny', () => run(node, ['bin/understudy.mjs', 'image', 'build', 'tiny'])),
  ]
  const tests = check('tests', () => runVitest(run, node))
  const passed = tests.passed + checks.filter((ok) => ok).length
  const failed = tests.failed + checks.filter((ok) => !ok).length
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 && tests.passed > 0 ? 0 : 1
})

function check(name, action) {
  console.log(`understudy: ${name}`)
  const startedMs = performance.now()
  const result = action()
  console.log(`understudy: ${name} took ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  return result
}

/** Runs a program on our terminal; whether it ended with status 0. Programs that ask for `node` get the bundled one. */
function runner(node) {
  const env = { ...process.env, PATH: [dirname(node), process.env.PATH].join(delimiter) }
  return (program, args) => {
    const { status, signal } = spawnSync(program, args, {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
      env,
    })
    if (status !== 0) console.error(`understudy: ${program} ended with ${signal ?? `status ${status}`}`)
    return status === 0
  }
}

/** The counts come from Vitest's report, not from its output: a file that cannot even load counts as failed. */
function runVitest(run, node) {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-test-'))
  const report = join(directory, 'report.json')
  try {
    const vitest = [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ]
    const ok = run(node, vitest)
    const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'))
    const failed = testResults.reduce((sum, file) => sum + failuresIn(file), 0)
    return { passed: numPassedTests, failed: ok ? failed : Math.max(failed, 1) }
  } catch (error) {
    console.error(`understudy: no test report: ${error.message}`)
    return { passed: 0, failed: 1 }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function failuresIn(file) {
  const failed = file.assertionResults.filter((result) => result.status === 'failed').length
  return file.status === 'failed' ? Math.max(failed, 1) : failed
}
