/** One host of a network of namespaces: processes in it, and the ways it stops. */
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { type Finished, finish } from './namespace-entry.ts'
import type { NamespaceHolder } from './namespace-holder.ts'

export const NETWORK_PREFIX = '10.77.0'

/** What a host asks of its network. */
export interface Wiring {
  start(): Promise<NamespaceHolder>
  enter(
    holder: NamespaceHolder,
    program: string,
    args: readonly string[],
    options: SpawnOptions,
  ): ChildProcess
  plug(holder: NamespaceHolder): Promise<void>
  /** Nothing gets through its line any more. */
  silence(): Promise<unknown>
  unplug(): Promise<unknown>
}

export class NamespaceHost {
  readonly name: string
  readonly address: string
  readonly mac: string
  /** Its port on the switch. */
  readonly port: string
  readonly #wiring: Wiring
  #holder: NamespaceHolder | null = null
  #stopped: readonly number[] = []

  constructor(name: string, number: number, wiring: Wiring) {
    if (!Number.isInteger(number) || number < 1 || number > 253)
      throw new RangeError(`no host number: ${number}`)
    this.name = name
    this.address = `${NETWORK_PREFIX}.${number}`
    this.mac = `02:4d:00:00:00:${number.toString(16).padStart(2, '0')}`
    this.port = `port${number}`
    this.#wiring = wiring
  }

  /** Null while it is off. */
  get holder(): NamespaceHolder | null {
    return this.#holder
  }

  get isOn(): boolean {
    return this.#holder !== null
  }

  /** Starts a process in the host; it dies with the host, or with the test. */
  spawn(program: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return this.#wiring.enter(this.#on(), program, args, options)
  }

  /** Runs a program to its end. */
  run(program: string, args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
    return finish(this.spawn(program, args, { ...options, stdio: 'pipe' }), '')
  }

  processes(): number[] {
    return this.#on().processes()
  }

  /** SIGSTOP for every process; the kernel goes on answering for them. */
  async pause(): Promise<void> {
    this.#stopped = await this.#on().stopAll()
  }

  resume(): void {
    this.#holder?.continueAll(this.#stopped)
    this.#stopped = []
  }

  /** kill -9 of every process. The kernel lives and closes their connections. */
  async kill(): Promise<void> {
    await this.#on().killAll()
  }

  /** Silence: no connection is closed, no process gets to do anything more. Nothing when it is off. */
  async powerOff(): Promise<void> {
    const holder = this.#holder
    if (holder === null) return
    this.#holder = null
    await this.#wiring.silence()
    await holder.killAll()
    await this.#wiring.unplug()
    await holder.end()
  }

  /** On again, with nothing running, the same address, and no memory of connections. Nothing when it is on. */
  async boot(): Promise<void> {
    if (this.#holder !== null) return
    const holder = await this.#wiring.start()
    try {
      await this.#wiring.plug(holder)
    } catch (error) {
      await holder.end()
      throw error
    }
    this.#holder = holder
  }

  #on(): NamespaceHolder {
    if (this.#holder === null) throw new Error(`${this.name} is off`)
    return this.#holder
  }
}
