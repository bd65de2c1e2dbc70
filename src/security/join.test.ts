import 'reflect-metadata'
import { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import * as x509 from '@peculiar/x509'
import { afterAll, afterEach, expect, test } from 'vitest'
import { IdentityFiles } from './identity-files.ts'
import { joinCluster } from './join.ts'
import { createJoinToken, JOIN_PATH, JoinServer, joinRequestSchema } from './join-server.ts'
import { decodeJoinToken, encodeJoinToken } from './join-token.ts'
import { TestClusters, testRefusals } from './testing/clusters.ts'
import { newSecret } from './tokens.ts'

const ADDRESS = '127.0.0.1'
const clusters = new TestClusters()
const opened: (() => void)[] = []
afterEach(() => {
  for (const close of opened.splice(0)) close()
})
afterAll(() => clusters.remove())

/** A cluster whose first host answers joins, as its agent does. */
async function openCluster() {
  const { identity, directory, authority } = await clusters.create()
  const { refusals } = testRefusals()
  const joins = await JoinServer.open(directory, refusals)
  const server = createServer(identity.serverOptions(), async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    try {
      expect(request.url).toBe(JOIN_PATH)
      const body = joinRequestSchema.parse(JSON.parse(Buffer.concat(chunks).toString()))
      response.end(JSON.stringify(await joins.join(body, request.socket.remoteAddress)))
    } catch (error) {
      response.writeHead(400).end(JSON.stringify({ error: { message: (error as Error).message } }))
    }
  })
  server.listen(0, ADDRESS)
  await once(server, 'listening')
  opened.push(() => server.close())
  const where = { address: ADDRESS, port: (server.address() as AddressInfo).port }
  const token = (validMs?: number) => createJoinToken(directory, where, validMs)
  return { identity, directory, authority, refusals, joins, where, token }
}

test('a host joins with a token: it gets a certificate for a key that never left it, and the API token', async () => {
  const cluster = await openCluster()
  const directory = clusters.newDirectory()
  const identity = await joinCluster(await cluster.token(), 'second', directory)
  expect(identity).toMatchObject({
    host: 'second',
    clusterId: cluster.identity.clusterId,
    apiToken: cluster.identity.apiToken,
  })
  const files = new IdentityFiles(directory)
  for (const path of [files.key, files.apiToken]) expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(existsSync(files.caKey)).toBe(false)
})

test('a token is good for one host, also when two come at once', async () => {
  const cluster = await openCluster()
  const token = await cluster.token()
  const hosts = ['second', 'third', 'fourth']
  const outcomes = await Promise.allSettled(
    hosts.map((host) => joinCluster(token, host, clusters.newDirectory())),
  )
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') expect(outcome.reason.code).toBe('SECURITY_JOIN_REFUSED')
  }
  expect(cluster.refusals.counts()['join-refused']).toBe(2)
})

test('an expired token and one that was never made are refused and counted; nothing is written', async () => {
  const cluster = await openCluster()
  const unknown = encodeJoinToken({ ...decodeJoinToken(await cluster.token()), secret: newSecret() })
  for (const [at, token] of [await cluster.token(-1), unknown].entries()) {
    const directory = clusters.newDirectory()
    await expect(joinCluster(token, 'second', directory)).rejects.toMatchObject({
      code: 'SECURITY_JOIN_REFUSED',
    })
    expect(new IdentityFiles(directory).exists).toBe(false)
    expect(cluster.refusals.counts()['join-refused']).toBe(at + 1)
  }
})

test('a token lives on until it brought a certificate', async () => {
  const cluster = await openCluster()
  const token = await cluster.token()
  const { secret } = decodeJoinToken(token)
  await expect(
    cluster.joins.join({ host: 'second', secret, csr: 'nonsense' }, undefined),
  ).rejects.toMatchObject({ code: 'SECURITY_JOIN_REFUSED' })
  await joinCluster(token, 'second', clusters.newDirectory())
})

test('an impostor at the address is not told the secret', async () => {
  const [ours, theirs] = [await openCluster(), await openCluster()]
  const token = encodeJoinToken({ ...decodeJoinToken(await ours.token()), ...theirs.where })
  await expect(joinCluster(token, 'second', clusters.newDirectory())).rejects.toMatchObject({
    code: 'SECURITY_AUTHORITY_WRONG',
  })
  expect(theirs.refusals.counts()['join-refused']).toBe(0)
})

test('an impostor who shows the true authority beside a certificate of his own is not told the secret either', async () => {
  const [ours, theirs] = [await openCluster(), await clusters.create()]
  const { cert, ...options } = theirs.identity.serverOptions()
  const leaf = String(cert).split('-----END CERTIFICATE-----')[0]
  let requests = 0
  const server = createServer(
    { ...options, cert: `${leaf}-----END CERTIFICATE-----\n${ours.authority.certificate}` },
    () => requests++,
  )
  server.listen(0, ADDRESS)
  await once(server, 'listening')
  opened.push(() => server.close())
  const { port } = server.address() as AddressInfo
  const token = encodeJoinToken({ ...decodeJoinToken(await ours.token()), port })
  await expect(joinCluster(token, 'second', clusters.newDirectory())).rejects.toMatchObject({
    code: expect.stringMatching(/^SECURITY_(AUTHORITY_WRONG|JOIN_FAILED)$/),
  })
  expect(requests).toBe(0)
})

test('an impostor who shows the true authority beside a certificate that only names it is not told the secret', async () => {
  const ours = await openCluster()
  const authority = new x509.X509Certificate(ours.authority.certificate)
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const leaf = await x509.X509CertificateGenerator.create({
    subject: 'CN=first',
    issuer: authority.subject,
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    // Not the authority's.
    signingKey: keys.privateKey,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: `understudy://${ours.identity.clusterId}/host/first` },
      ]),
    ],
  })
  let [connections, requests] = [0, 0]
  const server = createServer(
    {
      cert: `${leaf.toString('pem')}\n${ours.authority.certificate}`,
      key: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }),
    },
    () => requests++,
  )
  server.on('connection', () => connections++)
  server.listen(0, ADDRESS)
  await once(server, 'listening')
  opened.push(() => server.close())
  const { port } = server.address() as AddressInfo
  const token = encodeJoinToken({ ...decodeJoinToken(await ours.token()), port })
  await expect(joinCluster(token, 'second', clusters.newDirectory())).rejects.toMatchObject({
    code: 'SECURITY_JOIN_FAILED',
  })
  // The fingerprint was found, and still it was not believed.
  expect([connections, requests]).toEqual([2, 0])
})

test('what is no token is said to be none, without repeating it', async () => {
  const token = await (await openCluster()).token()
  for (const text of ['', 'nonsense', token.slice(0, -5), token.slice(3), 'A'.repeat(10_000)]) {
    await expect(joinCluster(text, 'second', clusters.newDirectory())).rejects.toMatchObject({
      code: 'SECURITY_JOIN_TOKEN_INVALID',
      message: 'This is no join token, or not all of one.',
    })
  }
})

test('nobody answers at the address', async () => {
  const cluster = await openCluster()
  const token = encodeJoinToken({ ...decodeJoinToken(await cluster.token()), port: 1 })
  await expect(joinCluster(token, 'second', clusters.newDirectory())).rejects.toMatchObject({
    code: 'SECURITY_JOIN_FAILED',
  })
})
