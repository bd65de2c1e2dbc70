/** Clusters for tests: identity directories in a temporary place, and counters whose lines can be read. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Authority, requestCertificate } from '../authority.ts'
import { type Identity, loadIdentity } from '../identity.ts'
import { IdentityFiles, writePublicFile, writeSecretFile } from '../identity-files.ts'
import { Refusals } from '../refusals.ts'
import { newSecret } from '../tokens.ts'

export class TestClusters {
  readonly #root = mkdtempSync(join(tmpdir(), 'security-'))
  #count = 0

  /** A directory that is not there yet. */
  newDirectory(): string {
    this.#count += 1
    return join(this.#root, String(this.#count))
  }

  /** A cluster of one host, which has the authority. */
  async create(host = 'first'): Promise<{ authority: Authority; directory: string; identity: Identity }> {
    const directory = this.newDirectory()
    const authority = await Authority.create(directory, host)
    return { authority, directory, identity: loadIdentity(directory) }
  }

  /** Another host of the cluster in `directory`. */
  async addHost(authority: Authority, host: string): Promise<{ directory: string; identity: Identity }> {
    const directory = this.newDirectory()
    const files = new IdentityFiles(directory)
    files.prepare()
    const { csr, privateKey } = await requestCertificate(host)
    writePublicFile(files.caCertificate, authority.certificate)
    writeSecretFile(files.key, privateKey)
    writeSecretFile(files.apiToken, `${newSecret()}\n`)
    writePublicFile(files.certificate, await authority.issue(csr, host))
    return { directory, identity: loadIdentity(directory) }
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true })
  }
}

/** Counters that write nowhere but into `lines`. */
export function testRefusals(nowMs?: () => number): { refusals: Refusals; lines: object[] } {
  const lines: object[] = []
  return { refusals: new Refusals({ warn: (fields) => void lines.push(fields) }, nowMs), lines }
}
