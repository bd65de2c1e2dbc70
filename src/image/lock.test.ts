import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { withLock } from './lock.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'understudy-lock-'))
  path = join(directory, 'lock')
})
afterEach(() => rm(directory, { recursive: true }))

/** Another process that holds the lock until it is killed. */
async function holder(): Promise<ChildProcess> {
  const program = `
    import { withLock } from ${JSON.stringify(fileURLToPath(new URL('./lock.ts', import.meta.url)))}
    await withLock(${JSON.stringify(path)}, () => {}, async () => {
      console.log('held')
      await new Promise((resolve) => setInterval(resolve, 60_000))
    })`
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout!, 'data')
  return child
}

describe('the build lock', () => {
  it('lets one in at a time and returns what the work returned', async () => {
    let inside = 0
    const work = async (value: number) => {
      inside++
      expect(inside).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      inside--
      return value
    }
    const results = await Promise.all(
      [1, 2, 3, 4].map((value) =>
        withLock(
          path,
          () => undefined,
          () => work(value),
        ),
      ),
    )
    expect(results).toEqual([1, 2, 3, 4])
  })

  it('is given back when the work fails', async () => {
    const failing = withLock(
      path,
      () => undefined,
      () => Promise.reject(new Error('no')),
    )
    await expect(failing).rejects.toThrow('no')
    await expect(
      withLock(
        path,
        () => expect.unreachable(),
        async () => 'in',
      ),
    ).resolves.toBe('in')
  })

  it('is given back when its holder is killed', async () => {
    const child = await holder()
    const result = await withLock(
      path,
      () => child.kill('SIGKILL'),
      async () => 'in',
    )
    expect(result).toBe('in')
    expect(child.signalCode ?? (await once(child, 'exit'))[1]).toBe('SIGKILL')
  })

  it('says why a file cannot be locked', async () => {
    const locked = withLock(
      join(directory, 'missing/lock'),
      () => undefined,
      async () => 'in',
    )
    await expect(locked).rejects.toMatchObject({ code: 'IMAGE_COMMAND_FAILED' })
  })
})
