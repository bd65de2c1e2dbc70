/** Several clients of the Redis in a guest, in a process that can live in a network namespace, and what they saw. */
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { join } from 'node:path'
import { type ClientRecord, clientRecordSchema } from './counter-client.ts'
import type { CounterOperation, RegisterOperation } from './history.ts'

const PROGRAM = join(import.meta.dirname, 'counter-clients-main.ts')

export interface ClientsOptions {
  readonly address: string
  readonly port: number
  readonly clients: number
  readonly keys: number
  readonly pauseMs: number
  readonly answerMsMax: number
  readonly seed: number
}

export type Break = Extract<ClientRecord, { kind: 'break' }>

/** All of it, as it is known by now. */
export interface ClientHistory {
  readonly counters: readonly CounterOperation[]
  readonly registers: readonly RegisterOperation[]
  readonly breaks: readonly Break[]
}

export class CounterClients {
  readonly #child: ChildProcess
  readonly #counters: CounterOperation[] = []
  readonly #registers: RegisterOperation[] = []
  readonly #breaks: Break[] = []
  #answered = 0
  readonly #started = Promise.withResolvers<void>()
  readonly #ended: Promise<void>

  /** `spawn` starts a program, in a namespace or not. */
  constructor(
    spawn: (program: string, args: readonly string[], options: SpawnOptions) => ChildProcess,
    { address, port, clients, keys, pauseMs, answerMsMax, seed }: ClientsOptions,
  ) {
    const numbers = [port, clients, keys, pauseMs, answerMsMax, seed].map(String)
    this.#child = spawn(process.execPath, [PROGRAM, address, ...numbers], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdin!.on('error', () => undefined)
    let torn = ''
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (torn + text).split('\n')
      torn = lines.pop()!
      for (const line of lines) this.#take(JSON.parse(line))
    })
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject)
      this.#child.on('close', (status, signal) => {
        if (status === 0) resolve()
        else reject(new Error(`the clients ended with ${signal ?? `status ${status}`}`))
      })
    })
    this.#ended.catch((error) => this.#started.reject(error))
    this.#started.promise.catch(() => undefined)
  }

  /** Resolves when every client was answered once. Rejects when the process ended before. */
  started(): Promise<void> {
    return this.#started.promise
  }

  get history(): ClientHistory {
    return { counters: this.#counters, registers: this.#registers, breaks: this.#breaks }
  }

  /** Operations that were answered. */
  get answered(): number {
    return this.#answered
  }

  /** Lets them finish and read everything once more. Rejects when their process failed. */
  async stop(): Promise<ClientHistory> {
    this.#child.stdin!.end()
    await this.#ended
    return this.history
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #take(line: unknown): void {
    if (line === 'started') return this.#started.resolve()
    const record = clientRecordSchema.parse(line)
    if (record.kind !== 'break' && record.operation.returnMs !== null) this.#answered++
    if (record.kind === 'counter') this.#counters.push(record.operation)
    else if (record.kind === 'register') this.#registers.push(record.operation)
    else this.#breaks.push(record)
  }
}
