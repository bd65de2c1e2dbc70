import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { encodeMessage } from '../ft/channel-codec.ts'
import type { ChannelMessage, FrameMessage } from '../ft/messages.ts'
import { ChannelSockets } from './channel.ts'

const ADDRESS = '127.0.0.1'
const opened: { end(): void }[] = []
afterEach(() => {
  for (const resource of opened.splice(0)) resource.end()
})

/** One end whose story can be awaited. */
function channelEnd() {
  const story: string[] = []
  const messages: ChannelMessage[] = []
  const channels = new ChannelSockets({
    opened: (connection) => story.push(`opened ${connection}`),
    message: (connection, message) => {
      story.push(`${message.kind} on ${connection}`)
      // Payloads are views of what the socket brought; here they are compared as plain bytes.
      messages.push(
        message.kind === 'frame' ? { ...message, payload: Uint8Array.from(message.payload) } : message,
      )
    },
    closed: (connection) => story.push(`closed ${connection}`),
  })
  opened.push(channels)
  return { channels, story, messages }
}

function frame(sequence: number, bytes: number): ChannelMessage {
  const payload = new Uint8Array(bytes).fill(sequence)
  return { kind: 'frame', sequence, releasedSequence: 0, powerOff: false, payload }
}

async function pair() {
  const backup = channelEnd()
  const primary = channelEnd()
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
