import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openImage } from '../src/image/directory.ts'
import { type DigestLine, digestLine, type Ended, MachineProcess } from './machine-process.ts'

const HTTP_REQUESTS = 20
const INCREMENTS = 300

const DISK_BYTES = 16 * 1024 * 1024
/** Writes a file to the disk, forgets what is cached, and reads it back. The shell joins what the quotes part. */
const DISK_COMMANDS = [
  'dd if=/bin/busybox of=/dev/vda bs=64k',
  'sync',
  'echo 3 > /proc/sys/vm/drop_caches',
  'head -c $(wc -c < /bin/busybox) /dev/vda | cmp - /bin/busybox && echo cop""ied: same',
].join('; ')

let directory: string
let log: string
let recorded: Ended
let digest: DigestLine

/** Free now; passt takes it a moment later. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Increments one by one over one connection and returns the last answer. */
async function increment(port: number, times: number): Promise<string | undefined> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  let answer: string | undefined
  for (let time = 0; time < times; time++) {
    socket.write('INCR replayed\r\n')
    answer = (await lines.next()).value
  }
  socket.destroy()
  return answer
}

/** Boots Linux to its login, talks to it over network and console, uses its disk, and lets it power itself off. */
async function recordBoot(): Promise<Ended> {
  const image = await openImage('tiny')
  const [http, redis] = [await freePort(), await freePort()]
  const disk = join(directory, 'disk')
  writeFileSync(disk, new Uint8Array(DISK_BYTES))
  const machine = new MachineProcess(
    ...['run', '--kernel', image.kernelPath, '--initrd', image.initrdPath, '--append', image.manifest.append],
    ...['--memory', '256M', '--publish', `${http}:80`, '--publish', `${redis}:6379`],
    ...['--disk', disk, '--record', log, '--digest'],
  )
  try {
    const login = await machine.console('login: ')
    for (let request = 0; request < HTTP_REQUESTS; request++) {
      const response = await fetch(`http://127.0.0.1:${http}/`)
      expect(await response.text()).toContain('<html')
    }
    expect(await increment(redis, INCREMENTS)).toBe(`:${INCREMENTS}`)
    machine.type('root\n')
    const prompt = await machine.console('# ', login)
    machine.type(`${DISK_COMMANDS}\n`)
    const copied = await machine.console('copied: same', prompt)
    await machine.console('# ', copied)
    machine.type('poweroff\n')
    return await machine.ended()
  } catch (error) {
    // Nobody else would end a guest that was not told to power itself off.
    machine.kill('SIGKILL')
    throw error
  }
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'machine-replay-'))
  log = join(directory, 'log')
  recorded = await recordBoot()
  expect(recorded).toMatchObject({ status: 0, signal: null })
  digest = digestLine(recorded)
})

afterAll(() => rmSync(directory, { recursive: true }))

describe('the life of a Linux guest with network and disk traffic', () => {
  it('was recorded in a log of the size of its images and little more', async () => {
    const image = await openImage('tiny')
    const imagesBytes = statSync(image.kernelPath).size + statSync(image.initrdPath).size
    expect(digest.retired).toBeGreaterThan(100_000_000)
    expect(statSync(log).size).toBeLessThan(imagesBytes)
  })

  it.each([
    ['with the interpreter only', ['--engine', 'interpreter']],
    ['with compiled regions', ['--engine', 'regions']],
    ['with regions compiled at once', ['--engine', 'regions-at-once']],
    ['with the interpreter in short runs', ['--engine', 'interpreter', '--slice', '4999']],
    ['with compiled regions in short runs', ['--engine', 'regions', '--slice', '20011']],
  ])('replays to the same digest, count and console %s', async (_, flags) => {
    const replay = new MachineProcess('replay', log, '--digest', ...flags)
    replay.closeInput()
    const replayed = await replay.ended()
    expect(replayed).toMatchObject({ status: 0, stdout: recorded.stdout })
    expect(digestLine(replayed)).toEqual(digest)
  })
})
