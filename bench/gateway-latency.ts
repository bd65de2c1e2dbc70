/**
 * What the gateway adds to a round trip: a client on loopback sends one byte at a time to an echo peer, first with
 * passt connected to the peer directly, then through the gateway's process and a live link.
 *
 *     node bench/gateway-latency.ts [--rounds 3000]
 *
 * Prints one JSON object: medians and 99th percentiles in microseconds.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { rarpAnnouncement } from '../src/net/announce.ts'
import { GatewayClient } from '../src/net/gateway-control.ts'
import { GUEST_IPV4, Passt } from '../src/net/passt.ts'
import { connectPort } from '../src/net/port.ts'
import { claimPorts } from '../src/net/publishing.ts'
import { answer, tcpPeer } from '../test/tcp-peer.ts'

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
const WARM_UP_ROUNDS = 300
const ANY_PORT = { hostAddress: '127.0.0.1', hostPort: 0, guestPort: 7 }

interface RoundTrips {
  readonly medianUs: number
  readonly p99Us: number
}

async function roundTrips(port: number, rounds: number): Promise<RoundTrips> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  const timesUs: number[] = []
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const startedMs = performance.now()
    socket.write('x')
    await once(socket, 'data')
    if (round >= 0) timesUs.push((performance.now() - startedMs) * 1000)
  }
  socket.destroy()
  timesUs.sort((a, b) => a - b)
  const at = (share: number) => Math.round(timesUs[Math.floor(share * (timesUs.length - 1))]!)
  return { medianUs: at(0.5), p99Us: at(0.99) }
}

async function passtAlone(rounds: number): Promise<RoundTrips> {
  const peer = tcpPeer(MAC, GUEST_IPV4)
  const published = await claimPorts([ANY_PORT])
  const passt = new Passt(published, {
    frame: (data) => {
      for (const reply of answer(peer, data)) passt.socket.send(reply)
    },
    died: (message) => console.error(`passt died: ${message}`),
  })
  await passt.ready()
  passt.socket.send(rarpAnnouncement(new Uint8Array(MAC)))
  const result = await roundTrips(published[0]!.hostPort, rounds)
  await passt.stop()
  return result
}

async function throughGateway(rounds: number): Promise<RoundTrips> {
  const dir = await mkdtemp(join(tmpdir(), 'understudy-bench-'))
  const main = join(import.meta.dirname, '../src/net/gateway-main.ts')
  const gateway = spawn(process.execPath, [main, '--dir', dir], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [line] = (await once(createInterface({ input: gateway.stdout }), 'line')) as [string]
    const { control, links } = JSON.parse(line) as { control: string; links: string }
    const { token, publish } = await new GatewayClient(control).add({ vm: 'bench', publish: [ANY_PORT] })
    const peer = tcpPeer(MAC, GUEST_IPV4)
    const port = await connectPort({
      ...{ address: links, vm: 'bench', replica: 'bench', generation: 1, token },
      onFrame: (data, receipt) => {
        for (const reply of answer(peer, data)) port.send(reply)
        port.taken(receipt)
      },
      onFenced: (reason) => console.error(`fenced: ${reason}`),
    })
    await port.goLive(1)
    port.send(rarpAnnouncement(new Uint8Array(MAC)))
    const result = await roundTrips(publish[0]!.hostPort, rounds)
    port.close()
    return result
  } finally {
    gateway.kill()
    await once(gateway, 'exit')
    await rm(dir, { recursive: true })
  }
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '3000' } } })
const rounds = Number(values.rounds)
const result = { passtAlone: await passtAlone(rounds), throughGateway: await throughGateway(rounds) }
console.log(JSON.stringify(result))
