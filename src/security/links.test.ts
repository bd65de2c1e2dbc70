import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { afterAll, afterEach, expect, test } from 'vitest'
import { encodeMessage } from '../ft/channel-codec.ts'
import { HANDSHAKE_MS_MAX, HANDSHAKES_PENDING_MAX } from './handshakes.ts'
import type { Identity } from './identity.ts'
import { connectLink, isLoopback, listenLink } from './links.ts'
import { TestClusters, testRefusals } from './testing/clusters.ts'

const ADDRESS = '127.0.0.1'
const clusters = new TestClusters()
const opened: (() => void)[] = []
afterEach(() => {
  for (const close of opened.splice(0)) close()
})
afterAll(() => clusters.remove())

/** A listener that echoes, and what it made of those who came. */
async function echo(identity: Identity | null) {
  const { refusals, lines } = testRefusals()
  const hosts: (string | null)[] = []
  const listener = await listenLink(
    { host: ADDRESS, port: 0 },
    {
      identity,
      refusals,
      onSocket: (socket, host) => {
        hosts.push(host)
        socket.on('error', () => {})
        socket.pipe(socket)
        opened.push(() => socket.destroy())
      },
    },
  )
  opened.push(() => listener.close())
  return { port: listener.port, refusals, lines, hosts }
}

function call(port: number, identity: Identity | null) {
  const { refusals } = testRefusals()
  const story: string[] = []
  const socket = connectLink({
    host: ADDRESS,
    port,
    identity,
    refusals,
    onReady: () => story.push('ready'),
  })
  socket.on('error', (error) => story.push(`error ${(error as NodeJS.ErrnoException).code}`))
  socket.on('data', (data) => story.push(`data ${data}`))
  socket.on('close', () => story.push('closed'))
  opened.push(() => socket.destroy())
  return { socket, story, refusals }
}

/** Unlike `once` it does not fail for the error that may come before. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()))
}

function stranger(socket: Socket): Socket {
  socket.on('error', () => {})
  opened.push(() => socket.destroy())
  return socket
}

test('hosts of a cluster talk, and each knows who the other is', async () => {
  const { identity, authority } = await clusters.create()
  const second = await clusters.addHost(authority, 'second')
  const server = await echo(identity)
  const { socket, story } = call(server.port, second.identity)
  socket.write('early')
  await expect.poll(() => story).toEqual(['ready', 'data early'])
  expect(server.hosts).toEqual(['second'])
  expect(Object.values(server.refusals.counts()).every((count) => count === 0)).toBe(true)
})

test('without an identity a link on loopback is plain', async () => {
  const server = await echo(null)
  const { socket, story } = call(server.port, null)
  socket.write('hello')
  await expect.poll(() => story).toEqual(['ready', 'data hello'])
  expect(server.hosts).toEqual([null])
})

test('a host of another cluster is refused, counted and told nothing', async () => {
  const [ours, theirs] = [await clusters.create(), await clusters.create()]
  const server = await echo(ours.identity)
  // One that does not care whom it talks to, so that it is the server that refuses.
  const socket = stranger(
    tlsConnect({
      host: ADDRESS,
      port: server.port,
      ...theirs.identity.clientOptions(),
      rejectUnauthorized: false,
    }),
  )
  socket.write('hello')
  let heard = 0
  socket.on('data', () => heard++)
  await closed(socket)
  expect(heard).toBe(0)
  expect(server.hosts).toEqual([])
  expect(server.refusals.counts()).toMatchObject({ 'other-cluster': 1, 'unknown-certificate': 0 })
  expect(server.lines).toMatchObject([{ refusal: 'other-cluster', from: ADDRESS }])
})

test('a server of another cluster is refused before anything is sent to it', async () => {
  const [ours, theirs] = [await clusters.create(), await clusters.create()]
  const server = await echo(theirs.identity)
  const { socket, story, refusals } = call(server.port, ours.identity)
  socket.write('secret')
  await expect.poll(() => story.at(-1)).toBe('closed')
  expect(story).toHaveLength(2)
  expect(story[0]).toMatch(/^error /)
  expect(refusals.counts()).toMatchObject({ 'unknown-certificate': 1 })
  expect(server.hosts).toEqual([])
})

test('a certificate of our authority that names another cluster is refused on both sides', async () => {
  const { identity, authority } = await clusters.create()
  // What an authority would have to be tricked into.
  Object.assign(authority, { clusterId: 'f'.repeat(32) })
  const { identity: odd } = await clusters.addHost(authority, 'odd')
  const server = await echo(identity)
  const calling = stranger(tlsConnect({ host: ADDRESS, port: server.port, ...odd.clientOptions() }))
  await closed(calling)
  const lenient = stranger(
    tlsConnect({
      host: ADDRESS,
      port: server.port,
      ...odd.clientOptions(),
      checkServerIdentity: () => undefined,
    }),
  )
  await closed(lenient)
  expect(server.refusals.counts()).toMatchObject({ 'other-cluster': 1 })
  expect(server.hosts).toEqual([])

  const oddServer = await echo(odd)
  const { story, refusals } = call(oddServer.port, identity)
  await expect.poll(() => story).toEqual(['error SECURITY_PEER_REFUSED', 'closed'])
  expect(refusals.counts()).toMatchObject({ 'other-cluster': 1 })
})

test('a certificate that says our cluster, from an authority that only calls itself ours, is refused on both sides', async () => {
  const [{ identity }, forger] = [await clusters.create(), await clusters.create()]
  Object.assign(forger.authority, { clusterId: identity.clusterId })
  const { identity: forged } = await clusters.addHost(forger.authority, 'first')
  expect(forged.clusterId).toBe(identity.clusterId)
  const server = await echo(identity)
  const socket = stranger(
    tlsConnect({ host: ADDRESS, port: server.port, ...forged.clientOptions(), rejectUnauthorized: false }),
  )
  await closed(socket)
  expect(server.hosts).toEqual([])
  expect(server.refusals.counts()).toMatchObject({ 'unknown-certificate': 1, 'other-cluster': 0 })
  const forgedServer = await echo(forged)
  const { story, refusals } = call(forgedServer.port, identity)
  await expect.poll(() => story.at(-1)).toBe('closed')
  expect(story).not.toContain('ready')
  expect(refusals.counts()).toMatchObject({ 'unknown-certificate': 1 })
})

test('no connection is resumed: each one is verified', async () => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  const connectWith = async (session: Buffer | undefined) => {
    const options = { host: ADDRESS, port: server.port, ...identity.clientOptions() }
    const socket = stranger(tlsConnect({ ...options, ...(session && { session }) })) as TLSSocket
    let offered: Buffer | undefined
    socket.on('session', (session: Buffer) => {
      offered = session
    })
    // A ticket comes before the first bytes of data.
    socket.write('hello')
    await once(socket, 'data')
    return { offered, isReused: socket.isSessionReused() }
  }
  const { offered } = await connectWith(undefined)
  expect((await connectWith(offered)).isReused).toBe(false)
})

test('whoever has no certificate is refused and counted', async () => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  await closed(stranger(tlsConnect({ host: ADDRESS, port: server.port, rejectUnauthorized: false })))
  expect(server.hosts).toEqual([])
  expect(server.refusals.counts()).toMatchObject({ 'unknown-certificate': 1 })
})

test.each([
  ['HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['the logging channel', encodeMessage({ kind: 'ack', receivedSequence: 1, executedSequence: 1 })],
  ['an Ethernet frame', Buffer.concat([Buffer.from([0, 0, 0, 60]), Buffer.alloc(60, 0x52)])],
  ['JSON', '{"type":"hello","protocol":1}\n'],
])('plain text is refused and counted: %s', async (_what, text) => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  const socket = stranger(connect(server.port, ADDRESS))
  socket.write(text)
  await closed(socket)
  expect(server.refusals.counts()).toMatchObject({ 'plain-text': 1 })
  expect(server.hosts).toEqual([])
})

test('TLS before 1.3 is refused', async () => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  const options = { host: ADDRESS, port: server.port, rejectUnauthorized: false } as const
  const [error] = (await once(
    stranger(tlsConnect({ ...options, maxVersion: 'TLSv1.2' })),
    'error',
  )) as NodeJS.ErrnoException[]
  expect(error?.code).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
  expect(server.hosts).toEqual([])
})

test('strangers who only connect give way to those who come later, and cannot be too many', async () => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  const strangers = await Promise.all(
    Array.from({ length: HANDSHAKES_PENDING_MAX + 10 }, async () => {
      const socket = stranger(connect(server.port, ADDRESS))
      // A socket nobody reads does not notice that the other side closed.
      socket.resume()
      await once(socket, 'connect')
      return socket
    }),
  )
  const { socket, story } = call(server.port, identity)
  socket.write('hello')
  await expect.poll(() => story).toEqual(['ready', 'data hello'])
  await expect
    .poll(() => strangers.filter(({ destroyed }) => !destroyed).length)
    .toBeLessThanOrEqual(HANDSHAKES_PENDING_MAX)
  expect(server.refusals.counts()['handshake-failed']).toBeGreaterThanOrEqual(10)
  // And not because their time was up.
  expect(server.lines).toMatchObject([{ detail: expect.stringMatching(/handshakes under way/) }])
})

test('handshakes that are over take no room', async () => {
  const { identity } = await clusters.create()
  const server = await echo(identity)
  const calls: string[][] = []
  for (let i = 0; i < HANDSHAKES_PENDING_MAX / 4; i++) {
    const { story } = call(server.port, identity)
    calls.push(story)
    await expect.poll(() => story).toEqual(['ready'])
    await closed(stranger(tlsConnect({ host: ADDRESS, port: server.port })))
    const plain = stranger(connect(server.port, ADDRESS))
    plain.write('GET / HTTP/1.1\r\n\r\n')
    await closed(plain)
  }
  // Room for all but one is left only if none of those before is counted any more.
  const waiting = Array.from({ length: HANDSHAKES_PENDING_MAX - 1 }, () =>
    stranger(connect(server.port, ADDRESS)),
  )
  await Promise.all(waiting.map((socket) => once(socket, 'connect')))
  for (const socket of waiting) socket.resume()
  const { story } = call(server.port, identity)
  await expect.poll(() => story).toEqual(['ready'])
  expect(waiting.filter(({ destroyed }) => destroyed)).toEqual([])
  expect(calls.filter((story) => story.includes('closed'))).toEqual([])
})

test('a call that nobody takes up fails by its deadline', { timeout: 4 * HANDSHAKE_MS_MAX }, async () => {
  const { identity } = await clusters.create()
  const { createServer } = await import('node:net')
  const silent = createServer((socket) => void stranger(socket)).listen(0, ADDRESS)
  opened.push(() => silent.close())
  await once(silent, 'listening')
  const { story } = call((silent.address() as { port: number }).port, identity)
  await expect.poll(() => story.length, { timeout: 3 * HANDSHAKE_MS_MAX }).toBe(2)
  expect(story).toEqual(['error undefined', 'closed'])
})

test('nothing listens or calls beyond loopback without an identity', async () => {
  const { refusals } = testRefusals()
  const code = 'SECURITY_IDENTITY_MISSING'
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const beyond = own.filter(({ internal }) => !internal).map(({ address }) => address)
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'localhost', 'example.org', ...beyond]) {
    const options = { identity: null, refusals, onSocket: () => {} }
    await expect(listenLink({ host, port: 0 }, options), host).rejects.toMatchObject({ code })
    expect(() => connectLink({ host, port: 1, identity: null, refusals }), host).toThrow(
      expect.objectContaining({ code }),
    )
  }
})

test('loopback is what the kernel keeps on this host', () => {
  for (const host of ['127.0.0.1', '127.255.0.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
    expect(isLoopback(host), host).toBe(true)
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '128.0.0.1',
    '126.9.9.9',
    '::2',
    'localhost',
    '',
    '127.1',
    '0x7f000001',
  ]) {
    expect(isLoopback(host), host).toBe(false)
  }
})
