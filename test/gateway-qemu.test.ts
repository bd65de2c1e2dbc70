/** A Linux that is not ours, on a machine that is not ours, served by the gateway over its plain port. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { openImage } from '../src/image/directory.ts'
import { type Gateway, startGateway } from '../src/net/gateway.ts'

const BOOT_TIMEOUT_MS = 120_000

let dir: string
let gateway: Gateway
let qemu: ChildProcess | null = null

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'understudy-qemu-'))
  gateway = await startGateway({ dir, log: { info() {}, warn() {}, error() {} } })
})

afterEach(async () => {
  if (qemu !== null && qemu.exitCode === null) {
    qemu.kill('SIGKILL')
    await once(qemu, 'exit')
  }
  await gateway.close()
  await rm(dir, { recursive: true })
})

/** One request on one connection; the answer's first line. */
async function ask(port: number, request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  try {
    socket.write(request)
    const [data] = (await once(socket, 'data')) as [Buffer]
    return data.toString('latin1').split('\r\n')[0]!
  } finally {
    socket.destroy()
  }
}

it('serves a Linux in QEMU: HTTP and Redis through published ports', {
  timeout: 2 * BOOT_TIMEOUT_MS,
}, async () => {
  const segment = await gateway.addSegment({
    vm: 'qemu',
    plainPort: true,
    publish: [
      { hostPort: 0, guestPort: 80 },
      { hostPort: 0, guestPort: 6379 },
    ],
  })
  const [http, redis] = segment.publish.map(({ hostPort }) => hostPort) as [number, number]
  const { kernelPath, initrdPath, manifest } = await openImage('tiny')
  const path = segment.plainAddress!.slice('unix:'.length)
  qemu = spawn(
    'qemu-system-riscv64',
    [
      ...[
        '-M',
        'virt',
        '-m',
        String(manifest.memoryMiB),
        '-display',
        'none',
        '-serial',
        'null',
        '-monitor',
        'none',
      ],
      ...['-kernel', kernelPath, '-initrd', initrdPath, '-append', manifest.append],
      ...[
        '-netdev',
        `stream,id=net,server=off,addr.type=unix,addr.path=${path}`,
        '-device',
        'virtio-net-device,netdev=net',
      ],
    ],
    { stdio: 'ignore' },
  )
  const pong = () => ask(redis, 'PING\r\n').catch(() => '')
  await vi.waitUntil(async () => (await pong()) === '+PONG', { timeout: BOOT_TIMEOUT_MS, interval: 200 })
  expect(await ask(http, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.[01] 200 /)
  expect(await ask(redis, 'INCR count\r\n')).toBe(':1')
  expect(gateway.listSegments()[0]).toMatchObject({ passtRestarts: 0, uplinkDropped: 0 })
})
