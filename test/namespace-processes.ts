/** What runs on the hosts of a network of namespaces: long-lived processes with logs, and commands of the product. */
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { mustFinish } from './namespace-entry.ts'
import { NamespaceNetwork } from './namespaces.ts'
import { until } from './test-cluster.ts'

const COMMAND = join(import.meta.dirname, '../bin/understudy.mjs')
const LIST = join(import.meta.dirname, 'store-list.ts')
const LOG_LINES_SHOWN = 15

/** Starting a process on a machine that is busy with all others. */
export const START_MS_MAX = 60_000

const entrySchema = z.object({ key: z.string(), value: z.string() })

export class NamespaceProcesses {
  readonly network: NamespaceNetwork
  /** All hosts share this machine's files; each keeps to its own directory in this one. */
  readonly directory = mkdtempSync(join(tmpdir(), 'usn-'))

  private constructor(network: NamespaceNetwork) {
    this.network = network
  }

  static async open(): Promise<NamespaceProcesses> {
    return new NamespaceProcesses(await NamespaceNetwork.open())
  }

  /** Kills everything. */
  async close(): Promise<void> {
    await this.network.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  directoryOf(host: string): string {
    return join(this.directory, host)
  }

  logOf(host: string): string {
    return join(this.directory, `${host}.log`)
  }

  /** Starts a program that stays, and resolves when it is ready; rejects when it ends before, or takes too long. */
  async start(
    host: string,
    program: string,
    args: readonly string[],
    isReady: (saidSince: string) => boolean | Promise<boolean>,
  ): Promise<void> {
    const path = this.logOf(host)
    const saidBefore = existsSync(path) ? readFileSync(path).length : 0
    const log = openSync(path, 'a')
    const child = this.network.host(host).spawn(program, args, { stdio: ['ignore', log, log] })
    let hasEnded = false
    child.on('error', (error) => writeFileSync(log, `${error}\n`))
    child.on('close', () => {
      hasEnded = true
      closeSync(log)
    })
    const look = async () => {
      if (hasEnded) throw new Error(`${host} ended:\n${tail(path)}`)
      return (await isReady(readFileSync(path).subarray(saidBefore).toString())) || undefined
    }
    await until(look, START_MS_MAX, async () => `${host} does not start:\n${tail(path)}`)
  }

  /** The same for a process of the product. */
  startUnderstudy(
    host: string,
    words: readonly string[],
    isReady: (saidSince: string) => boolean | Promise<boolean>,
  ): Promise<void> {
    return this.start(host, process.execPath, this.#understudy(host, words), isReady)
  }

  /** What a command of the product prints; rejects with what it complains of. */
  command(host: string, words: readonly string[], timeoutMs = START_MS_MAX): Promise<string> {
    const options = { stdio: 'pipe', timeout: timeoutMs } as const
    return mustFinish(this.network.host(host).spawn(process.execPath, this.#understudy(host, words), options))
  }

  /** Entries of the store below a prefix, as a host sees them. */
  async listStore(host: string, url: string, prefix: string) {
    const options = { stdio: 'pipe', timeout: START_MS_MAX } as const
    const lines = await mustFinish(
      this.network.host(host).spawn(process.execPath, [LIST, url, prefix], options),
    )
    const texts = lines.split('\n').filter((line) => line !== '')
    return texts.map((line) => entrySchema.parse(JSON.parse(line)))
  }

  #understudy(host: string, words: readonly string[]): string[] {
    return [COMMAND, ...words, '--dir', this.directoryOf(host)]
  }
}

/** The end of a log. */
export function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n')
  } catch {
    return '(none)'
  }
}
