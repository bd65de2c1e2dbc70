import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MTU_BYTES as DEVICE_MTU_BYTES } from '../machine/devices/virtio-net/virtio-net.ts'
import { MTU_BYTES } from '../net/passt.ts'
import { encodeFrame, FrameDecoder } from '../net/stream.ts'
import { macAddress, plugIn } from './machine-network.ts'

let directory: string
let server: Server
let address: string
let peer: Promise<Socket>

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'nic-'))
  const path = join(directory, 'peer.sock')
  address = `unix:${path}`
  server = createServer()
  peer = new Promise((resolve) => server.once('connection', resolve))
  await new Promise<void>((resolve) => server.listen(path, resolve))
})

afterEach(async () => {
  server.close()
  rmSync(directory, { recursive: true })
})

const MAC = macAddress(0)
const frameOf = (byte: number) => new Uint8Array(60).fill(byte)

it('the network and the network card advise the same MTU', () => {
  expect(DEVICE_MTU_BYTES).toBe(MTU_BYTES)
})

describe('a NIC plugged into a stream peer', () => {
  it('sends and receives whole frames', async () => {
    const received = Promise.withResolvers<Uint8Array>()
    const cable = await plugIn({ kind: 'stream', address }, MAC, {
      received: received.resolve,
      lost: (why) => expect.unreachable(why),
    })
    const socket = await peer
    const echoed = new FrameDecoder({
      frame: (data) => socket.write(encodeFrame(data)),
      control: () => undefined,
    })
    socket.on('data', (chunk) => echoed.push(chunk as Buffer))
    cable.send(frameOf(7))
    expect(await received.promise).toEqual(frameOf(7))
    await cable.close()
  })

  it('is unplugged, once, when the peer leaves or talks nonsense, and sending then does no harm', async () => {
    for (const nonsense of [null, Uint8Array.of(0xff, 0xff, 0xff, 0xff)]) {
      const reasons: string[] = []
      const lost = Promise.withResolvers<void>()
      const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
      const cable = await plugIn({ kind: 'stream', address }, MAC, {
        received: () => expect.unreachable(),
        lost: (why) => {
          reasons.push(why)
          lost.resolve()
        },
      })
      const socket = await connected
      socket.on('error', () => undefined)
      if (nonsense === null) socket.end()
      else socket.write(nonsense)
      await lost.promise
      expect(cable.isOpen).toBe(false)
      cable.send(frameOf(1))
      expect(reasons).toHaveLength(1)
    }
  })

  it('is refused where nobody listens', async () => {
    const none = { kind: 'stream', address: `unix:${join(directory, 'none')}` } as const
    const events = { received: () => undefined, lost: () => expect.unreachable() }
    await expect(plugIn(none, MAC, events)).rejects.toMatchObject({ code: 'MACHINE_NET_UNREACHABLE' })
    await expect(plugIn({ kind: 'stream', address: 'nowhere' }, MAC, events)).rejects.toMatchObject({
      code: 'NET_ADDRESS_INVALID',
    })
  })

  it('has an address of its own', () => {
    expect(macAddress(0)).not.toEqual(macAddress(1))
  })
})
