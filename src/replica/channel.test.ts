import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, afterEach, expect, test } from 'vitest'
import { encodeMessage } from '../ft/channel-codec.ts'
import type { ChannelMessage, FrameMessage } from '../ft/messages.ts'
import type { Identity } from '../security/identity.ts'
import { TestClusters, testRefusals } from '../security/testing/clusters.ts'
import { ChannelSockets } from './channel.ts'

const ADDRESS = '127.0.0.1'
const opened: { end(): void }[] = []
const clusters = new TestClusters()
afterAll(() => clusters.remove())
afterEach(() => {
  for (const resource of opened.splice(0)) resource.end()
})

/** One end whose story can be awaited. */
function channelEnd(identity: Identity | null = null) {
  const { refusals } = testRefusals()
  const story: string[] = []
  const messages: ChannelMessage[] = []
  const channels = new ChannelSockets(
    {
      opened: (connection) => story.push(`opened ${connection}`),
      message: (connection, message) => {
        story.push(`${message.kind} on ${connection}`)
        // Payloads are views of what the socket brought; here they are compared as plain bytes.
        messages.push(
          message.kind === 'frame' ? { ...message, payload: Uint8Array.from(message.payload) } : message,
        )
      },
      closed: (connection) => story.push(`closed ${connection}`),
    },
    { identity, refusals },
  )
  opened.push(channels)
  return { channels, story, messages, refusals }
}

function frame(sequence: number, bytes: number): ChannelMessage {
  const payload = new Uint8Array(bytes).fill(sequence)
  return { kind: 'frame', sequence, releasedSequence: 0, powerOff: false, payload }
}

async function pair(identity: Identity | null = null) {
  const backup = channelEnd(identity)
  const primary = channelEnd(identity)
  const port = await backup.channels.listen(ADDRESS)
  primary.channels.call(ADDRESS, port)
  await expect.poll(() => [...primary.story, ...backup.story]).toEqual(['opened 1', 'opened 1'])
  return { primary, backup, port }
}

async function stranger(port: number): Promise<Socket> {
  const socket = connect(port, ADDRESS)
  opened.push({ end: () => socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('messages arrive whole and in order, whatever their size', async () => {
  const { primary, backup } = await pair()
  const sizes = fc.sample(fc.integer({ min: 0, max: 200_000 }), 30)
  for (const [i, size] of sizes.entries()) primary.channels.send(1, frame(i + 1, size))
  await expect.poll(() => backup.messages.length, { timeout: 10_000 }).toBe(sizes.length)
  for (const [i, size] of sizes.entries()) {
    const { payload, ...fields } = backup.messages[i] as FrameMessage
    expect({ ...fields, length: payload.length }).toMatchObject({ sequence: i + 1, length: size })
    expect(payload.every((byte) => byte === i + 1)).toBe(true)
  }
})

test('what was sent before a close still arrives, and each end hears of the end once', async () => {
  const { primary, backup } = await pair()
  primary.channels.send(1, { kind: 'bye', reason: 'stop' })
  primary.channels.close(1)
  primary.channels.close(1)
  await expect.poll(() => backup.story).toEqual(['opened 1', 'bye on 1', 'closed 1'])
  expect(primary.story).toEqual(['opened 1', 'closed 1'])
  primary.channels.send(1, { kind: 'bye', reason: 'stop' })
})

test('a primary calls until its backup listens', async () => {
  const first = channelEnd()
  const port = await first.channels.listen(ADDRESS)
  first.channels.end()
  const primary = channelEnd()
  primary.channels.call(ADDRESS, port)
  // Takes the port again, as a backup that starts late would.
  const late = await new Promise<Socket>((resolve) => {
    setTimeout(async () => {
      const { createServer } = await import('node:net')
      const server = createServer(resolve).listen(port, ADDRESS)
      opened.push({ end: () => server.close() })
    }, 150)
  })
  opened.push({ end: () => late.destroy() })
  await expect.poll(() => primary.story).toEqual(['opened 1'])
})

test('a torn last message is dropped', async () => {
  const backup = channelEnd()
  const socket = await stranger(await backup.channels.listen(ADDRESS))
  const bytes = Buffer.concat([encodeMessage(frame(1, 10)), encodeMessage(frame(2, 10))])
  socket.end(bytes.subarray(0, bytes.length - 1))
  await expect.poll(() => backup.story).toEqual(['opened 1', 'frame on 1', 'closed 1'])
})

test('nonsense ends the connection it came on, and no other', async () => {
  const { primary, backup, port } = await pair()
  const socket = await stranger(port)
  socket.write('GET / HTTP/1.1\r\nHost: replica\r\n\r\n')
  await once(socket, 'close')
  expect(backup.story).toEqual(['opened 1', 'opened 2', 'closed 2'])
  primary.channels.send(1, frame(1, 5))
  await expect.poll(() => backup.messages).toEqual([frame(1, 5)])
})

test('more connections than any pair needs are turned away', async () => {
  const backup = channelEnd()
  const port = await backup.channels.listen(ADDRESS)
  const sockets = await Promise.all(Array.from({ length: 12 }, () => stranger(port)))
  await expect.poll(() => sockets.filter((socket) => !socket.destroyed).length).toBe(4)
  expect(backup.story).toHaveLength(4)
})

test('with an identity the same goes through TLS', async () => {
  const { identity } = await clusters.create()
  const { primary, backup } = await pair(identity)
  for (const [i, size] of [0, 10, 200_000, 3_000_000].entries()) primary.channels.send(1, frame(i + 1, size))
  await expect.poll(() => backup.messages.length).toBe(4)
  expect(backup.messages.at(-1)).toEqual(frame(4, 3_000_000))
  backup.channels.send(1, { kind: 'ack', receivedSequence: 4, executedSequence: 4 })
  await expect.poll(() => primary.messages).toHaveLength(1)
  primary.channels.send(1, { kind: 'bye', reason: 'stop' })
  primary.channels.close(1)
  await expect.poll(() => backup.story.slice(-2)).toEqual(['bye on 1', 'closed 1'])
})

test('a torn TLS connection is a closed channel', async () => {
  const { identity } = await clusters.create()
  const { primary, backup } = await pair(identity)
  backup.channels.end()
  await expect.poll(() => primary.story).toEqual(['opened 1', 'closed 1'])
})

test('with an identity whoever is no host of the cluster opens no channel', async () => {
  const { identity } = await clusters.create()
  const backup = channelEnd(identity)
  const port = await backup.channels.listen(ADDRESS)
  // A replica of another cluster calls again and again: it does not believe this one either.
  const foreign = channelEnd((await clusters.create()).identity)
  foreign.channels.call(ADDRESS, port)
  await expect.poll(() => foreign.refusals.counts()['unknown-certificate']).toBeGreaterThanOrEqual(2)
  // A replica without an identity opens what it takes for a channel, and says nothing that is heard.
  const plain = channelEnd()
  plain.channels.call(ADDRESS, port)
  await expect.poll(() => plain.story).toEqual(['opened 1'])
  plain.channels.send(1, frame(1, 100))
  await expect.poll(() => plain.story).toEqual(['opened 1', 'closed 1'])
  expect(backup.refusals.counts()['plain-text']).toBe(1)
  expect(backup.story).toEqual([])
})

test('without an identity no channel is opened beyond loopback', async () => {
  const { channels } = channelEnd()
  const code = 'SECURITY_IDENTITY_MISSING'
  await expect(channels.listen('0.0.0.0')).rejects.toMatchObject({ code })
  expect(() => channels.call('192.0.2.1', 1)).toThrow(expect.objectContaining({ code }))
})
