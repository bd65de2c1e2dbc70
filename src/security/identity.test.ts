import { X509Certificate } from 'node:crypto'
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { Authority, requestCertificate } from './authority.ts'
import { readHostName } from './host-name.ts'
import { loadIdentity } from './identity.ts'
import { IdentityFiles } from './identity-files.ts'
import { TestClusters } from './testing/clusters.ts'

const clusters = new TestClusters()
afterAll(() => clusters.remove())

test('a new cluster has an authority, a first host and a token, and its secrets are for its owner only', async () => {
  const { directory, identity, authority } = await clusters.create('alpha')
  expect(identity).toMatchObject({ host: 'alpha', clusterId: authority.clusterId })
  expect(identity.apiToken).toMatch(/^[\w-]{43}$/)
  const files = new IdentityFiles(directory)
  for (const path of [files.caKey, files.key, files.apiToken]) expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(statSync(directory).mode & 0o777).toBe(0o700)
  const certificate = new X509Certificate(readFileSync(files.certificate))
  expect(certificate.ca).toBe(false)
  expect(certificate.subject).toBe('CN=alpha')
  expect(certificate.subjectAltName).toBe(`URI:understudy://${authority.clusterId}/host/alpha`)
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  expect(new X509Certificate(readFileSync(files.caCertificate)).ca).toBe(true)
})

test('an authority that is loaded again issues for the same cluster', async () => {
  const { directory, authority } = await clusters.create()
  const { identity } = await clusters.addHost(await Authority.load(directory), 'second')
  expect(identity).toMatchObject({ host: 'second', clusterId: authority.clusterId })
})

test('an identity is not overwritten', async () => {
  const { directory } = await clusters.create()
  await expect(Authority.create(directory, 'other')).rejects.toMatchObject({
    code: 'SECURITY_IDENTITY_EXISTS',
  })
})

test.each(['key', 'apiToken', 'caKey'] as const)('%s is refused unless its mode is 0600', async (which) => {
  const { directory } = await clusters.create()
  const path = new IdentityFiles(directory)[which]
  const load = async () => (which === 'caKey' ? Authority.load(directory) : loadIdentity(directory))
  for (const mode of [0o644, 0o640, 0o604, 0o660, 0o700]) {
    chmodSync(path, mode)
    await expect(load()).rejects.toMatchObject({
      code: 'SECURITY_FILE_OPEN_TO_OTHERS',
      message: expect.stringContaining(`chmod 600 ${path}`),
    })
  }
  chmodSync(path, 0o600)
  await load()
})

test('a secret of another user is refused', async ({ skip }) => {
  skip(process.getuid?.() !== 0, 'only root can give a file away')
  const { chownSync } = await import('node:fs')
  const { directory } = await clusters.create()
  chownSync(new IdentityFiles(directory).key, 12_345, 12_345)
  expect(() => loadIdentity(directory)).toThrow(/belongs to user 12345/)
})

test('files that do not belong together are no identity', async () => {
  const [one, other] = [await clusters.create(), await clusters.create()]
  const [files, foreign] = [new IdentityFiles(one.directory), new IdentityFiles(other.directory)]
  const code = 'SECURITY_IDENTITY_INVALID'
  for (const which of ['caCertificate', 'certificate', 'key'] as const) {
    const own = readFileSync(files[which])
    for (const wrong of [readFileSync(foreign[which]), 'nonsense']) {
      writeFileSync(files[which], wrong)
      expect(() => loadIdentity(one.directory), which).toThrow(expect.objectContaining({ code }))
    }
    writeFileSync(files[which], own)
  }
  writeFileSync(files.caKey, readFileSync(foreign.caKey))
  await expect(Authority.load(one.directory)).rejects.toMatchObject({ code })
  rmSync(files.certificate)
  expect(() => loadIdentity(one.directory)).toThrow(
    expect.objectContaining({ code: 'SECURITY_FILE_UNREADABLE' }),
  )
})

test('a host without the key of the authority has none', async () => {
  const { authority } = await clusters.create()
  const { directory } = await clusters.addHost(authority, 'second')
  await expect(Authority.load(directory)).rejects.toMatchObject({ code: 'SECURITY_AUTHORITY_MISSING' })
})

test('a request that is damaged, or whose sender lacks the key, is not certified', async () => {
  const { authority } = await clusters.create()
  const { csr } = await requestCertificate('second')
  const base64 = csr.split('\n').slice(1, -1).join('')
  const der = Buffer.from(base64, 'base64')
  // The last byte is of the signature.
  der[der.length - 1]! ^= 1
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
  for (const wrong of [forged, 'nonsense', '', csr.repeat(20)]) {
    await expect(authority.issue(wrong, 'second')).rejects.toMatchObject({ code: 'SECURITY_JOIN_REFUSED' })
  }
  for (const name of ['', 'Upper', 'a/b', '../x', `${'a'.repeat(64)}`, 'a.b']) {
    await expect(authority.issue(csr, name)).rejects.toMatchObject({ code: 'SECURITY_HOST_NAME_INVALID' })
  }
})

test('a name is read only from an extension that holds that name and nothing else', () => {
  const id = '0123456789abcdef0123456789abcdef'
  const uri = `URI:understudy://${id}/host/web-1`
  expect(readHostName(uri)).toEqual({ clusterId: id, host: 'web-1' })
  const others = [
    undefined,
    '',
    'DNS:web-1',
    `${uri}, DNS:x`,
    `DNS:x, ${uri}`,
    `${uri}/more`,
    `URI:"understudy://${id}/host/web-1"`,
    uri.replace(id, id.slice(1)),
    uri.replace('understudy:', 'https:'),
    uri.replace('web-1', ''),
    `${uri}\n`,
  ]
  for (const text of others) expect(readHostName(text), text).toBeNull()
})
