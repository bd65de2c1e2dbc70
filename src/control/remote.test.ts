import { once } from 'node:events'
import { type RequestOptions, request } from 'node:http'
import { request as requestSecurely } from 'node:https'
import { connect } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { STRANGERS_MAX } from '../security/https.ts'
import type { Identity } from '../security/identity.ts'
import { joinCluster } from '../security/join.ts'
import { createJoinToken, JOIN_PATH, JoinServer, joinRequestSchema } from '../security/join-server.ts'
import type { Refusals } from '../security/refusals.ts'
import { TestClusters, testRefusals } from '../security/testing/clusters.ts'
import { callControl, openStream } from './client.ts'
import { ControlServer, checked } from './server.ts'

const HOST = '127.0.0.1'
const clusters = new TestClusters()
let cluster: Awaited<ReturnType<TestClusters['create']>>
let foreign: Identity
let refusals: Refusals
let server: ControlServer
/** What handlers were reached. */
let reached: string[]
const opened: (() => void)[] = []

beforeAll(async () => {
  cluster = await clusters.create()
  foreign = (await clusters.create()).identity
})
afterAll(() => clusters.remove())

beforeEach(async () => {
  ;({ refusals } = testRefusals())
  reached = []
  const joins = await JoinServer.open(cluster.directory, refusals)
  server = await ControlServer.listen(
    { host: HOST, port: 0, identity: cluster.identity, refusals },
    [
      { method: 'GET', path: '/v1/host', handle: ({ from }) => ({ reached: reached.push('host'), from }) },
      {
        method: 'POST',
        path: JOIN_PATH,
        isOpen: true,
        handle: ({ body, from }) => joins.join(checked(joinRequestSchema, body), from),
      },
    ],
    [
      {
        path: '/v1/echo',
        handle: (_request, stream) => {
          reached.push('echo')
          stream.pipe(stream)
        },
      },
    ],
  )
})

afterEach(async () => {
  for (const close of opened.splice(0)) close()
  await server.close()
})

const anything = z.record(z.string(), z.unknown())
const target = (identity: Identity) => ({ host: HOST, port: server.port, identity })

/** A request that is wrong in some way that our client would not let pass; resolves to status and code. */
async function raw(options: RequestOptions, identity: Identity | null): Promise<[number, string]> {
  const outgoing = requestSecurely({
    host: HOST,
    port: server.port,
    path: '/v1/host',
    agent: false,
    ...(identity?.clientOptions() ?? {}),
    rejectUnauthorized: false,
    ...options,
  })
  outgoing.end()
  const [response] = await once(outgoing, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  return [response.statusCode, JSON.parse(text).error?.code]
}

test('a host of the cluster is answered, and may open a stream', async () => {
  const { identity } = await clusters.addHost(cluster.authority, 'second')
  // The token is the cluster's: a host that joined has it.
  Object.assign(identity, { apiToken: cluster.identity.apiToken })
  const answer = await callControl({ ...target(identity), method: 'GET', path: '/v1/host' }, anything)
  expect(answer).toEqual({ reached: 1, from: HOST })
  const stream = await openStream(target(identity), '/v1/echo')
  opened.push(() => stream.destroy())
  stream.write('hello')
  const [data] = (await once(stream, 'data')) as [Buffer]
  expect(data.toString()).toBe('hello')
  expect(Object.values(refusals.counts()).every((count) => count === 0)).toBe(true)
})

test('a wrong token and none at all are refused with 401, counted, and reach no handler', async () => {
  const { identity } = cluster
  const headers = [{}, { authorization: 'Bearer x' }, { authorization: `Bearer ${foreign.apiToken}` }]
  for (const wrong of headers) {
    expect(await raw({ headers: wrong }, identity)).toEqual([401, 'CONTROL_UNAUTHORIZED'])
  }
  expect(refusals.counts()).toMatchObject({ 'wrong-token': 3 })
  const upgrade = { connection: 'Upgrade', upgrade: 'understudy' }
  const outgoing = requestSecurely({
    ...{ host: HOST, port: server.port, path: '/v1/echo', agent: false, headers: upgrade },
    ...identity.clientOptions(),
  })
  outgoing.end()
  const [response] = await once(outgoing, 'response')
  expect(response.statusCode).toBe(401)
  response.resume()
  expect(refusals.counts()).toMatchObject({ 'wrong-token': 4 })
  expect(reached).toEqual([])
})

test('the right token without a certificate, or with one of another cluster, is refused and counted', async () => {
  const headers = { authorization: `Bearer ${cluster.identity.apiToken}` }
  expect(await raw({ headers }, null)).toEqual([401, 'CONTROL_UNAUTHORIZED'])
  expect(refusals.counts()).toMatchObject({ 'unknown-certificate': 1 })
  expect(await raw({ headers }, foreign)).toEqual([401, 'CONTROL_UNAUTHORIZED'])
  expect(refusals.counts()).toMatchObject({ 'other-cluster': 1 })
  expect(reached).toEqual([])
})

test('a client does not talk to a server of another cluster', async () => {
  const call = callControl({ ...target(foreign), method: 'GET', path: '/v1/host' }, anything)
  await expect(call).rejects.toMatchObject({ code: 'SECURITY_PEER_REFUSED' })
  await expect(openStream(target(foreign), '/v1/echo')).rejects.toMatchObject({
    code: 'SECURITY_PEER_REFUSED',
  })
  expect(reached).toEqual([])
})

test('nobody there is still told apart', async () => {
  const nobody = { host: HOST, port: 1, identity: cluster.identity, method: 'GET', path: '/v1/host' } as const
  await expect(callControl(nobody, anything)).rejects.toMatchObject({ code: 'CONTROL_UNREACHABLE' })
})

test('plain HTTP is refused and counted', async () => {
  const outgoing = request({ host: HOST, port: server.port, path: '/v1/host', agent: false })
  outgoing.end()
  await expect(once(outgoing, 'response')).rejects.toThrow()
  expect(refusals.counts()).toMatchObject({ 'plain-text': 1 })
})

test('only the join is open to strangers, and the whole of a join works on it', async () => {
  const token = await createJoinToken(cluster.directory, { address: HOST, port: server.port })
  const identity = await joinCluster(token, 'second', clusters.newDirectory())
  expect(await callControl({ ...target(identity), method: 'GET', path: '/v1/host' }, anything)).toMatchObject(
    {
      reached: 1,
    },
  )
  await expect(joinCluster(token, 'third', clusters.newDirectory())).rejects.toMatchObject({
    code: 'SECURITY_JOIN_REFUSED',
  })
  expect(refusals.counts()).toMatchObject({ 'join-refused': 1 })
  for (const path of [`${JOIN_PATH}/x`, `${JOIN_PATH}/../host`, '/v1/host?path=/v1/join', '//v1/join']) {
    expect(await raw({ path }, null), path).toEqual([401, 'CONTROL_UNAUTHORIZED'])
  }
  expect(await raw({ path: JOIN_PATH }, null)).toEqual([404, 'CONTROL_NOT_FOUND'])
})

test('strangers have few connections, and hosts are answered beside them', async () => {
  const strangers = await Promise.all(
    Array.from({ length: STRANGERS_MAX + 5 }, async () => {
      const socket = tlsConnect({ host: HOST, port: server.port, rejectUnauthorized: false })
      opened.push(() => socket.destroy())
      socket.on('error', () => {})
      socket.resume()
      await once(socket, 'secureConnect')
      return socket
    }),
  )
  await expect.poll(() => strangers.filter(({ destroyed }) => !destroyed).length).toBe(STRANGERS_MAX)
  const call = { ...target(cluster.identity), method: 'GET', path: '/v1/host' } as const
  expect(await callControl(call, anything)).toMatchObject({ reached: 1 })
})

test('a stranger who only connects keeps nobody out', async () => {
  const idle = connect(server.port, HOST)
  opened.push(() => idle.destroy())
  await once(idle, 'connect')
  const call = { ...target(cluster.identity), method: 'GET', path: '/v1/host' } as const
  expect(await callControl(call, anything)).toMatchObject({ reached: 1 })
})
