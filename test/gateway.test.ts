import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { parseAddress } from '../src/net/address.ts'
import { rarpAnnouncement } from '../src/net/announce.ts'
import { type Gateway, STRANGERS_MAX, startGateway } from '../src/net/gateway.ts'
import { GatewayClient, serveGatewayControl } from '../src/net/gateway-control.ts'
import { CONTROL_BYTES_MAX, encodeMessage, type FromReplica, LINK_PROTOCOL } from '../src/net/link.ts'
import { GUEST_IPV4 } from '../src/net/passt.ts'
import { connectPort, type GatewayPort } from '../src/net/port.ts'
import { encodeControl, encodeFrame, FRAME_BYTES_MAX, FrameDecoder } from '../src/net/stream.ts'
import { Refusals } from '../src/security/refusals.ts'
import { answer, type TcpPeerState, tcpPeer } from './tcp-peer.ts'

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
const VM = 'demo'
/** Waits for a condition; the limit only matters to a test that fails, on however busy a machine. */
const eventually = (condition: () => boolean | Promise<boolean>) =>
  vi.waitUntil(condition, { timeout: 20_000, interval: 5 })

const silent = { info() {}, warn() {}, error() {} }
const access = { identity: null, refusals: new Refusals(silent) }

/** A replica as the gateway sees one: a port, and behind it the machine's state, which a takeover hands on. */
interface Replica {
  readonly port: GatewayPort
  fenced: string | null
  /** What the machine is doing; a stopped one takes frames and does nothing. */
  running: boolean
}

/** A line-by-line client on one connection. */
class Client {
  readonly socket: Socket
  readonly #lines: AsyncIterator<string>

  constructor(hostPort: number) {
    this.socket = connect({ host: '127.0.0.1', port: hostPort, noDelay: true })
    this.#lines = createInterface({ input: this.socket })[Symbol.asyncIterator]()
  }

  async echo(line: string): Promise<string> {
    this.socket.write(`${line}\n`)
    return (await this.#lines.next()).value
  }

  close(): void {
    this.socket.destroy()
  }
}

describe('gateway', () => {
  let dir: string
  let gateway: Gateway
  let token: string
  let hostPort: number
  const clients: Client[] = []
  const ports: GatewayPort[] = []

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'understudy-net-'))
    gateway = await startGateway({ dir, log: silent })
    const segment = await gateway.addSegment({ vm: VM, publish: [{ hostPort: 0, guestPort: 7 }] })
    token = segment.token
    hostPort = segment.publish[0]!.hostPort
  })

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close()
    for (const port of ports.splice(0)) port.close()
    await gateway.close()
    await rm(dir, { recursive: true })
  })

  function client(): Client {
    const made = new Client(hostPort)
    clients.push(made)
    return made
  }

  async function replica(
    machine: TcpPeerState,
    generation: number,
    name = `g${generation}`,
  ): Promise<Replica> {
    const made: Omit<Replica, 'port'> = { fenced: null, running: true }
    const port = await connectPort({
      address: gateway.linkAddress,
      ...access,
      vm: VM,
      replica: name,
      generation,
      token,
      onFrame(data, receipt) {
        if (!made.running) return
        for (const reply of answer(machine, data)) port.send(reply)
        port.taken(receipt)
      },
      onFenced(reason) {
        made.fenced = reason
      },
    })
    ports.push(port)
    return Object.assign(made, { port })
  }

  async function goLive({ port }: Replica, generation: number): Promise<void> {
    await port.goLive(generation)
    port.send(rarpAnnouncement(new Uint8Array(MAC)))
  }

  it('publishes a port on loopback and carries a connection through 20 takeovers', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    let primary = await replica(machine, 1)
    await goLive(primary, 1)
    const talking = client()
    const pausesMs: number[] = []
    for (let generation = 2; generation <= 21; generation++) {
      expect(await talking.echo(`before ${generation}`)).toBe(`before ${generation}`)
      const backup = await replica(machine, generation - 1)
      // The primary takes the client's bytes and dies with them: only the gateway can deliver them again.
      primary.running = false
      const { receivedFrames } = primary.port
      const startedMs = performance.now()
      const echoed = talking.echo(`across ${generation}`)
      await eventually(() => primary.port.receivedFrames > receivedFrames)
      primary.port.close()
      await goLive(backup, generation)
      expect(await echoed).toBe(`across ${generation}`)
      pausesMs.push(performance.now() - startedMs)
      primary = backup
    }
    // passt would need two seconds to notice a lost frame by itself.
    expect(Math.max(...pausesMs)).toBeLessThan(1_500)
    const [segment] = gateway.listSegments()
    expect(segment).toMatchObject({ takeovers: 20, liveGeneration: 21, passtRestarts: 0 })
    expect(Object.keys(machine.connections).length).toBe(1)
  })

  it('does not hear a replica that is not live, nor one that was', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    const primary = await replica(machine, 1)
    const backup = await replica(machine, 1)
    await goLive(primary, 1)
    const talking = client()
    expect(await talking.echo('one')).toBe('one')
    primary.running = false
    await goLive(backup, 2)
    await eventually(() => primary.fenced !== null)
    // The old primary wakes up and goes on as if nothing had happened.
    for (let i = 0; i < 50; i++) primary.port.send(rarpAnnouncement(new Uint8Array(MAC)))
    expect(await talking.echo('two')).toBe('two')
    await eventually(() => gateway.listSegments()[0]!.notLiveDropped === 50)
    await expect(primary.port.goLive(1)).rejects.toMatchObject({ code: 'NET_GENERATION_OLD' })
    await expect(replica(machine, 1)).rejects.toMatchObject({ code: 'NET_GENERATION_OLD' })
    expect(gateway.listSegments()[0]!.live).toBe('g1')
  })

  it('refuses a wrong token, an unknown VM, and a second winner of one generation', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    const right = token
    token = 'x'.repeat(64)
    await expect(replica(machine, 1)).rejects.toMatchObject({ code: 'NET_TOKEN_WRONG' })
    expect(gateway.refusals).toMatchObject({ 'wrong-token': 1 })
    token = right
    await goLive(await replica(machine, 1), 1)
    const second = await replica(machine, 1)
    await expect(second.port.goLive(1)).rejects.toMatchObject({ code: 'NET_GENERATION_TAKEN' })
    expect(second.fenced).toMatch(/generation 1/)
    const nowhere = connectPort({
      address: gateway.linkAddress,
      ...access,
      vm: 'other',
      replica: 'r',
      generation: 1,
      token,
      onFrame() {},
      onFenced() {},
    })
    await expect(nowhere).rejects.toMatchObject({ code: 'NET_SEGMENT_UNKNOWN' })
  })

  it('drops a peer that speaks nonsense, and nobody else', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    await goLive(await replica(machine, 1), 1)
    const talking = client()
    const hello: FromReplica = {
      type: 'hello',
      protocol: LINK_PROTOCOL,
      vm: VM,
      replica: 'r',
      generation: 1,
      token,
    }
    const tooLong = new Uint8Array(4)
    new DataView(tooLong.buffer).setUint32(0, FRAME_BYTES_MAX + 1)
    const control = (message: string) => encodeControl(new TextEncoder().encode(message))
    const nonsense: Uint8Array[] = [
      encodeFrame(new Uint8Array(60)),
      new TextEncoder().encode('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n'),
      tooLong,
      control('{"type":"live","generation":9}'),
      control('{"type":"hello"}'),
      control('not JSON'),
      control('"'.repeat(CONTROL_BYTES_MAX + 1)),
      Buffer.concat([encodeControl(encodeMessage(hello)), tooLong]),
      Buffer.concat([encodeControl(encodeMessage(hello)), encodeControl(encodeMessage(hello))]),
      Buffer.concat([encodeControl(encodeMessage(hello)), control('{"type":"taken","frames":-1}')]),
    ]
    for (const [i, bytes] of nonsense.entries()) {
      const peer = connect(parseAddress(gateway.linkAddress))
      peer.on('error', () => {})
      peer.resume()
      peer.write(bytes)
      await once(peer, 'close')
      expect(await talking.echo(`after ${i}`)).toBe(`after ${i}`)
    }
    await eventually(() => gateway.listSegments()[0]!.links.length === 1)
  })

  it('bounds the connections of strangers, dropping the oldest', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    await goLive(await replica(machine, 1), 1)
    const silentPeers = Array.from({ length: STRANGERS_MAX + 1 }, () =>
      connect(parseAddress(gateway.linkAddress)),
    )
    for (const peer of silentPeers) peer.on('error', () => {}).resume()
    await once(silentPeers[0]!, 'close')
    expect(silentPeers.slice(1).every((peer) => !peer.closed)).toBe(true)
    expect(await client().echo('served')).toBe('served')
    // Nor does a replica need a place among them for longer than its hello takes.
    await replica(machine, 1, 'another')
    for (const peer of silentPeers) peer.destroy()
  })

  it('hands over what a stopped replica was sent', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    // A replica that says hello, goes live, and is then stopped, as by SIGSTOP.
    const stopped = connect(parseAddress(gateway.linkAddress))
    const hello: FromReplica = {
      type: 'hello',
      protocol: LINK_PROTOCOL,
      vm: VM,
      replica: 'stopped',
      generation: 1,
      token,
    }
    stopped.write(encodeControl(encodeMessage(hello)))
    stopped.write(encodeControl(encodeMessage({ type: 'live', generation: 1 })))
    stopped.pause()
    await eventually(() => gateway.listSegments()[0]!.live === 'stopped')
    const talking = client()
    const echoed = talking.echo('held')
    await eventually(() => gateway.listSegments()[0]!.links[0]!.sentFrames > 0)
    await goLive(await replica(machine, 1, 'fresh'), 2)
    expect(await echoed).toBe('held')
    stopped.destroy()
  })

  it('starts passt again when it dies, and says so', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    await goLive(await replica(machine, 1), 1)
    const lost = client()
    expect(await lost.echo('one')).toBe('one')
    const before = gateway.listSegments()[0]!.passtPid!
    process.kill(before, 'SIGKILL')
    await once(lost.socket, 'close')
    await eventually(() => gateway.listSegments()[0]!.passtRestarts === 1)
    expect(gateway.listSegments()[0]!.passtPid).not.toBe(before)
    // The new passt has to hear the guest before it knows where to send.
    ports[0]!.send(rarpAnnouncement(new Uint8Array(MAC)))
    expect(await client().echo('two')).toBe('two')
  })

  it('connects plain stream peers, as QEMU would be', async () => {
    const machine = tcpPeer([2, 0, 0, 0, 0, 1], GUEST_IPV4)
    const segment = await gateway.addSegment({
      vm: 'plain',
      publish: [{ hostPort: 0, guestPort: 7 }],
      plainPort: true,
    })
    const peer = connect(parseAddress(segment.plainAddress!))
    const decoder = new FrameDecoder({
      frame: (data) => {
        for (const reply of answer(machine, data)) peer.write(encodeFrame(reply))
      },
      control: () => {},
    })
    peer.on('data', (chunk: Buffer) => decoder.push(chunk))
    peer.write(encodeFrame(rarpAnnouncement(new Uint8Array(machine.mac))))
    // A connection that comes before the peer is there is offered to nobody, and passt does not offer it twice.
    await eventually(() =>
      gateway.listSegments().some(({ vm, plainPeers }) => vm === 'plain' && plainPeers === 1),
    )
    hostPort = segment.publish[0]!.hostPort
    expect(await client().echo('plain')).toBe('plain')
    peer.destroy()
  })

  it('says which port is in use or forbidden', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const publish = (wanted: number) => ({ hostPort: wanted, guestPort: 80 })
    const inUse = gateway.addSegment({ vm: 'second', publish: [publish(port)] })
    await expect(inUse).rejects.toMatchObject({
      code: 'NET_PORT_IN_USE',
      message: expect.stringContaining(`:${port} `),
    })
    await expect(gateway.addSegment({ vm: 'second', publish: [publish(hostPort)] })).rejects.toThrow(
      `:${hostPort} `,
    )
    taken.close()
    await once(taken, 'close')
    const twice = gateway.addSegment({ vm: 'second', publish: [publish(port), publish(port)] })
    await expect(twice).rejects.toMatchObject({ code: 'NET_PORT_IN_USE' })
    await expect(gateway.addSegment({ vm: VM })).rejects.toMatchObject({ code: 'NET_SEGMENT_EXISTS' })
    await expect(gateway.addSegment({ vm: 'No/Name' })).rejects.toMatchObject({ code: 'NET_REQUEST_INVALID' })
    expect((await gateway.addSegment({ vm: 'second', publish: [publish(port)] })).publish[0]!.hostPort).toBe(
      port,
    )
    await gateway.removeSegment('second')
    await expect(gateway.removeSegment('second')).rejects.toMatchObject({ code: 'NET_SEGMENT_UNKNOWN' })
  })

  it('is controlled over its socket, errors included', async () => {
    const server = await serveGatewayControl(gateway, `unix:${join(dir, 'control.sock')}`)
    const control = new GatewayClient(`unix:${join(dir, 'control.sock')}`)
    expect(await control.info()).toMatchObject({ pid: process.pid, linkAddress: gateway.linkAddress })
    const added = await control.add({ vm: 'second', publish: [{ hostPort: 0, guestPort: 80 }] })
    expect((await control.list()).map(({ vm }) => vm)).toEqual([VM, 'second'])
    const again = control.add({
      vm: 'third',
      publish: [{ hostPort: added.publish[0]!.hostPort, guestPort: 80 }],
    })
    await expect(again).rejects.toMatchObject({ code: 'NET_PORT_IN_USE' })
    await control.remove('second')
    await expect(control.remove('second')).rejects.toMatchObject({ code: 'NET_SEGMENT_UNKNOWN' })
    server.close()
    await expect(new GatewayClient('unix:/nowhere.sock').info()).rejects.toMatchObject({
      code: 'NET_GATEWAY_UNREACHABLE',
    })
  })

  it('lets replicas link up again when it comes back', async () => {
    const machine = tcpPeer(MAC, GUEST_IPV4)
    const address = gateway.linkAddress
    const live = await replica(machine, 1)
    await goLive(live, 1)
    await gateway.close()
    await eventually(() => !live.port.isLinked)
    gateway = await startGateway({ dir, linkAddress: address, log: silent })
    const segment = await gateway.addSegment({ vm: VM, token, publish: [{ hostPort, guestPort: 7 }] })
    expect(segment.publish[0]!.hostPort).toBe(hostPort)
    await eventually(() => gateway.listSegments()[0]!.liveGeneration === 1)
    live.port.send(rarpAnnouncement(new Uint8Array(MAC)))
    expect(await client().echo('back')).toBe('back')
  })
})

describe('gateway process', () => {
  it('says where it listens, lets no second one in, and takes its passt along when killed', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'understudy-net-'))
    const main = new URL('../src/net/gateway-main.ts', import.meta.url).pathname
    const start = () => spawn(process.execPath, [main, '--dir', dir], { stdio: ['ignore', 'pipe', 'pipe'] })
    const first = start()
    try {
      const [line] = (await once(createInterface({ input: first.stdout }), 'line')) as [string]
      const { control, links, pid } = JSON.parse(line)
      expect(pid).toBe(first.pid)
      expect(links).toBe(`unix:${dir}/links.sock`)
      const client = new GatewayClient(control)
      const { passtPid } = await client.add({ vm: VM })
      const second = start()
      const [[code], said] = await Promise.all([once(second, 'exit'), text(second.stderr)])
      expect(code).toBe(1)
      expect(said).toContain('NET_GATEWAY_EXISTS')
      first.kill('SIGKILL')
      await once(first, 'exit')
      await eventually(async () => !(await isAlive(passtPid!)))
    } finally {
      first.kill('SIGKILL')
      await rm(dir, { recursive: true })
    }
  })
})

/** A process that has ended but was not yet waited for by its parent, or by init, does not count. */
async function isAlive(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  return status !== null && !/\) [ZX] /.test(status)
}
