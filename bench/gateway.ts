/**
 * What the gateway adds to a round trip: a client on loopback sends one byte at a time to an echo peer, first with
 * passt connected to the peer directly, then through the gateway's process and a live link.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { rarpAnnouncement } from '../src/net/announce.ts'
import { GatewayClient } from '../src/net/gateway-control.ts'
import { GUEST_IPV4, GUEST_MAC, Passt } from '../src/net/passt.ts'
import { connectPort } from '../src/net/port.ts'
import { claimPorts } from '../src/net/publishing.ts'
import { Refusals, STDERR_LOG } from '../src/security/refusals.ts'
import { answer, tcpPeer } from '../test/tcp-peer.ts'
import { progress, type Report, type Row } from './report.ts'
import { quantile, summarize } from './statistics.ts'

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
const ROUND_TRIPS = 3_000
const WARM_UP_ROUND_TRIPS = 300
const ANY_PORT = { hostAddress: '127.0.0.1', hostPort: 0, guestPort: 7 }

interface RoundTrips {
  readonly medianUs: number
  readonly p99Us: number
}

async function roundTrips(port: number): Promise<RoundTrips> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  const timesUs: number[] = []
  for (let n = -WARM_UP_ROUND_TRIPS; n < ROUND_TRIPS; n++) {
    const startedMs = performance.now()
    socket.write('x')
    await once(socket, 'data')
    if (n >= 0) timesUs.push((performance.now() - startedMs) * 1000)
  }
  socket.destroy()
  timesUs.sort((a, b) => a - b)
  return { medianUs: Math.round(quantile(timesUs, 0.5)), p99Us: Math.round(quantile(timesUs, 0.99)) }
}

async function passtAlone(): Promise<RoundTrips> {
  const peer = tcpPeer(MAC, GUEST_IPV4)
  const published = await claimPorts([ANY_PORT])
  const passt = new Passt(published, GUEST_MAC, {
    frame: (data) => {
      for (const reply of answer(peer, data)) passt.send(reply)
    },
    died: (message) => console.error(`passt died: ${message}`),
  })
  await passt.ready()
  passt.send(rarpAnnouncement(new Uint8Array(MAC)))
  const result = await roundTrips(published[0]!.hostPort)
  await passt.stop()
  return result
}

async function throughGateway(): Promise<RoundTrips> {
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
      ...{ identity: null, refusals: new Refusals(STDERR_LOG) },
      onFrame: (data, receipt) => {
        for (const reply of answer(peer, data)) port.send(reply)
        port.taken(receipt)
      },
      onFenced: (reason) => console.error(`fenced: ${reason}`),
    })
    await port.goLive(1)
    port.send(rarpAnnouncement(new Uint8Array(MAC)))
    const result = await roundTrips(publish[0]!.hostPort)
    port.close()
    return result
  } finally {
    gateway.kill()
    await once(gateway, 'exit')
    await rm(dir, { recursive: true })
  }
}

export async function measureGateway(rounds: number): Promise<Report> {
  const measured: { alone: RoundTrips; through: RoundTrips }[] = []
  for (let round = 1; round <= rounds; round++) {
    progress(`gateway, round ${round} of ${rounds}`)
    measured.push({ alone: await passtAlone(), through: await throughGateway() })
  }
  const row = (figure: string, of: (round: (typeof measured)[number]) => number): Row => ({
    ...{ figure, unit: 'us' },
    value: summarize(measured.map(of)),
  })
  return {
    subject: 'gateway',
    rows: [
      row('passt alone, median', ({ alone }) => alone.medianUs),
      row('passt alone, 99th percentile', ({ alone }) => alone.p99Us),
      row('through the gateway, median', ({ through }) => through.medianUs),
      row('through the gateway, 99th percentile', ({ through }) => through.p99Us),
      row('the gateway adds, median', ({ alone, through }) => through.medianUs - alone.medianUs),
    ],
    notes: [`One byte to an echo peer and back, ${ROUND_TRIPS} times a round.`],
  }
}
