import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { encodeHeartbeat, PAIR_KEY_BYTES } from '../ft/heartbeat-codec.ts'
import { type Heartbeat, type HelloMessage, PROTOCOL_VERSION } from '../ft/messages.ts'
import { testRefusals } from '../security/testing/clusters.ts'
import { BackupShell } from './backup-shell.ts'
import { HeartbeatSocket } from './heartbeat-socket.ts'
import type { ReplicaParts } from './shell.ts'

const ADDRESS = '127.0.0.1'
const KEY = randomBytes(PAIR_KEY_BYTES)
const opened: { close(): void }[] = []
afterEach(() => {
  for (const resource of opened.splice(0)) resource.close()
})

const beat: Heartbeat = {
  version: PROTOCOL_VERSION,
  vm: 'web',
  generation: 1,
  role: 'primary',
  replica: 'r',
  sequence: 1,
  sentAtMs: 5,
  echoMs: -1,
  releasedSequence: 0,
}

interface Heard {
  readonly vm?: string
  readonly key?: Uint8Array
  onHeartbeat?(heartbeat: Heartbeat): void
}

async function open({ vm = 'web', key = KEY, onHeartbeat = () => {} }: Heard) {
  const { refusals } = testRefusals()
  const socket = await HeartbeatSocket.open(ADDRESS, { vm, key, refusals, onHeartbeat })
  opened.push(socket)
  return { socket, refusals }
}

/** Somebody else on the network. */
async function stranger() {
  const socket = createSocket('udp4')
  opened.push(socket)
  socket.bind(0, ADDRESS)
  await once(socket, 'listening')
  return socket
}

test('heartbeats go both ways once one side knows the other; all else is dropped and counted', async () => {
  const heard: string[] = []
  const end = (name: string) =>
    open({ onHeartbeat: ({ sequence }) => void heard.push(`${name} ${sequence}`) })
  const [primary, backup] = [await end('primary'), await end('backup')]
  backup.socket.send({ ...beat, sequence: 7 })
  const other = await stranger()
  other.send('nonsense', backup.socket.port, ADDRESS)
  const foreign = await open({ vm: 'other' })
  foreign.socket.sendTo({ address: ADDRESS, port: backup.socket.port })
  foreign.socket.send({ ...beat, vm: 'other' })
  // One that would have the backup send its heartbeats there.
  const impostor = await open({ key: randomBytes(PAIR_KEY_BYTES) })
  impostor.socket.sendTo({ address: ADDRESS, port: backup.socket.port })
  impostor.socket.send({ ...beat, sequence: 99 })
  await expect.poll(() => backup.refusals.counts()['heartbeat-forged']).toBe(2)
  expect(heard).toEqual([])
  primary.socket.sendTo({ address: ADDRESS, port: backup.socket.port })
  primary.socket.send({ ...beat, sequence: 1 })
  await expect.poll(() => heard).toEqual(['backup 1'])
  backup.socket.send({ ...beat, sequence: 2 })
  await expect.poll(() => heard).toEqual(['backup 1', 'primary 2'])
})

test('a replica that becomes one of another pair believes that pair only', async () => {
  const heard: number[] = []
  const { socket, refusals } = await open({ onHeartbeat: ({ sequence }) => void heard.push(sequence) })
  const next = randomBytes(PAIR_KEY_BYTES)
  socket.useKey(next)
  const peer = await stranger()
  peer.send(encodeHeartbeat({ ...beat, sequence: 1 }, KEY), socket.port, ADDRESS)
  await expect.poll(() => refusals.counts()['heartbeat-forged']).toBe(1)
  peer.send(encodeHeartbeat({ ...beat, sequence: 2 }, next), socket.port, ADDRESS)
  await expect.poll(() => heard).toEqual([2])
})

test('an authentic heartbeat that is sent once more is refused by the protocol and counted', async () => {
  let shell: BackupShell | null = null
  const { socket, refusals } = await open({ onHeartbeat: (heartbeat) => shell?.heartbeat(heartbeat) })
  const parts = {
    config: { vm: 'web', replica: 'b', generation: 1, logFile: '' },
    channels: { send: () => {}, close: () => {} },
    heartbeats: socket,
    held: { take: () => [], clear: () => {} },
    outside: { remember: () => {} },
    event: () => {},
    end: () => {},
  } as unknown as ReplicaParts
  shell = new BackupShell(parts, 0)
  shell.start()
  const hello: HelloMessage = {
    kind: 'hello',
    version: PROTOCOL_VERSION,
    vm: 'web',
    generation: 1,
    role: 'primary',
    replica: 'r',
    sequence: 0,
    logBytesMax: 1,
  }
  shell.channelOpened(1)
  shell.channelMessage(1, hello)
  const peer = await stranger()
  const send = (sequence: number, fields: Partial<Heartbeat> = {}) =>
    peer.send(encodeHeartbeat({ ...beat, ...fields, sequence }, KEY), socket.port, ADDRESS)
  send(3)
  send(4)
  send(4)
  send(3)
  send(9, { generation: 0 })
  await expect.poll(() => refusals.counts()['heartbeat-replayed']).toBe(3)
  send(5)
  send(5)
  await expect.poll(() => refusals.counts()).toMatchObject({ 'heartbeat-replayed': 4, 'heartbeat-forged': 0 })
})
