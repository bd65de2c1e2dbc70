import { execFile } from 'node:child_process'
import { expect, test } from 'vitest'
import { readableLog } from './process-log.ts'

/** Runs a module that logs in a process of its own, whose stderr is what a log file gets. */
function logged(body: string): Promise<string> {
  const url = new URL('./process-log.ts', import.meta.url).href
  const errors = new URL('./errors.ts', import.meta.url).href
  const script = `import { processLog, logError } from '${url}'\nimport { ReplicaError } from '${errors}'\n${body}`
  return new Promise((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', script], (_error, _stdout, stderr) =>
      resolve(stderr),
    )
  })
}

test('a line says who speaks, and an error its code and what to do; all is out when the process dies', async () => {
  const text = await logged(`
    const log = processLog({ part: 'replica', vm: 'demo', host: 'host-1', replica: 'host-1/x' })
    log.info({ reason: 'stopped' }, 'ended')
    logError(log, 'fatal', new ReplicaError('CONFIG_INVALID', 'no file'))
    process.kill(process.pid, 'SIGKILL')`)
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const who = { part: 'replica', vm: 'demo', host: 'host-1', replica: 'host-1/x' }
  expect(lines).toMatchObject([
    { ...who, level: 30, reason: 'stopped', msg: 'ended' },
    { ...who, level: 60, code: 'CONFIG_INVALID', msg: 'no file' },
  ])
  expect(lines[1].next).toMatch(/\.$/)
  expect(readableLog(text)).toBe(`ended\nerror CONFIG_INVALID: no file\nnext: ${lines[1].next}\n`)
})

test('free text stays as it is, cut lines of JSON included', () => {
  const text = ['FATAL ERROR: out of memory', '"msg":"cut"}', '{"msg":"cu', '{"level":30}', '{}', ''].join(
    '\n',
  )
  expect(readableLog(text)).toBe(text)
})
