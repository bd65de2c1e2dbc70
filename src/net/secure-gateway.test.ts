import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Identity } from '../security/identity.ts'
import { TestClusters, testRefusals } from '../security/testing/clusters.ts'
import { parseAddress, parseLinkAddress } from './address.ts'
import { type Gateway, startGateway } from './gateway.ts'
import { GatewayClient, serveGatewayControl } from './gateway-control.ts'
import { connectPort } from './port.ts'

const log = { info() {}, warn() {}, error() {} }
const clusters = new TestClusters()
let ours: Identity
let foreign: Identity
let dir: string
let gateway: Gateway
const opened: (() => void)[] = []

beforeAll(async () => {
  ours = (await clusters.create()).identity
  foreign = (await clusters.create()).identity
})
afterAll(() => clusters.remove())

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'gateway-'))
  gateway = await startGateway({ dir, log, identity: ours, linkAddress: 'tls:127.0.0.1:0' })
})

afterEach(async () => {
  for (const close of opened.splice(0)) close()
  await gateway.close()
  rmSync(dir, { recursive: true })
})

function port(identity: Identity | null, address = gateway.linkAddress) {
  const { refusals } = testRefusals()
  const fields = { vm: 'web', replica: 'r', generation: 1, token: 'x'.repeat(64) }
  return connectPort({ ...fields, address, identity, refusals, onFrame() {}, onFenced() {} })
}

/** The port of a `tls:` address. */
function portOf(address: string): number {
  const where = parseLinkAddress(address)
  if ('path' in where) throw new Error(`${address} has no port`)
  return where.port
}

test('a replica of another host reaches the gateway by TLS: it is the gateway that answers its hello', async () => {
  expect(gateway.linkAddress).toMatch(/^tls:127\.0\.0\.1:\d+$/)
  await expect(port(ours)).rejects.toMatchObject({ code: 'NET_SEGMENT_UNKNOWN' })
})

test('a replica does not say hello to a gateway of another cluster', async () => {
  await expect(port(foreign)).rejects.toMatchObject({ code: 'NET_GATEWAY_UNREACHABLE' })
  expect(gateway.refusals).toMatchObject({ 'other-cluster': 0, 'wrong-token': 0 })
})

test('strangers on the link port are refused and counted', async () => {
  const at = { host: '127.0.0.1', port: portOf(gateway.linkAddress), rejectUnauthorized: false }
  for (const options of [at, { ...at, ...foreign.clientOptions(), rejectUnauthorized: false }]) {
    const socket = tlsConnect(options)
    socket.on('error', () => {})
    await new Promise((resolve) => socket.once('close', resolve))
  }
  const plain = connect(at.port, at.host)
  plain.on('error', () => {})
  plain.write(Buffer.from([0x80, 0, 0, 2, 0x7b, 0x7d]))
  await once(plain, 'close')
  expect(gateway.refusals).toMatchObject({ 'unknown-certificate': 1, 'other-cluster': 1, 'plain-text': 1 })
})

test('an agent of another host controls the gateway by TLS and token, and nobody else does', async () => {
  const control = await serveGatewayControl(gateway, 'tls:127.0.0.1:0')
  opened.push(() => control.close())
  const info = await new GatewayClient(control.address, ours).info()
  expect(info).toMatchObject({ pid: process.pid, linkAddress: gateway.linkAddress })
  await expect(new GatewayClient(control.address, foreign).info()).rejects.toMatchObject({
    code: 'NET_GATEWAY_UNREACHABLE',
  })
  await expect(new GatewayClient(control.address).info()).rejects.toMatchObject({
    code: 'SECURITY_IDENTITY_MISSING',
  })
  const socket = tlsConnect({ host: '127.0.0.1', port: portOf(control.address), ...ours.clientOptions() })
  opened.push(() => socket.destroy())
  socket.write('GET /segments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 401 /)
  expect(answer.toString()).toMatch(/NET_UNAUTHORIZED/)
  expect(gateway.refusals).toMatchObject({ 'wrong-token': 1 })
})

test('nothing listens beyond loopback in the clear, and nothing with TLS without an identity', async () => {
  const start = (linkAddress: string, identity: Identity | null) =>
    startGateway({ dir, log, linkAddress, identity })
  for (const address of ['tcp:0.0.0.0:0', 'tcp:192.0.2.1:0', 'tcp:localhost:0', 'tcp:[::]:0']) {
    for (const identity of [null, ours]) {
      await expect(start(address, identity), address).rejects.toMatchObject({
        code: 'SECURITY_PLAIN_REFUSED',
      })
    }
    await expect(port(null, address.replace(':0', ':1'))).rejects.toMatchObject({
      code: 'SECURITY_PLAIN_REFUSED',
    })
  }
  for (const address of ['tls:0.0.0.0:0', 'tls:127.0.0.1:0']) {
    await expect(start(address, null)).rejects.toMatchObject({ code: 'SECURITY_IDENTITY_MISSING' })
    await expect(port(null, address.replace(/0$/, '1'))).rejects.toMatchObject({
      code: 'SECURITY_IDENTITY_MISSING',
    })
  }
  await expect(serveGatewayControl(gateway, 'tcp:127.0.0.1:0')).rejects.toMatchObject({
    code: 'NET_ADDRESS_INVALID',
  })
})

test('an address in the clear is never taken from one that says TLS', () => {
  expect(() => parseAddress('tls:127.0.0.1:1')).toThrow(
    expect.objectContaining({ code: 'NET_ADDRESS_INVALID' }),
  )
  expect(parseAddress('tcp:127.0.0.1:1')).toMatchObject({ host: '127.0.0.1', port: 1 })
})
