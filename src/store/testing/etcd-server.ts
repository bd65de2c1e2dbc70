/** A real etcd on loopback in a directory of its own, and a way to it that can be cut. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Another program may take a port between its choice and its use. */
const START_ATTEMPTS_MAX = 5

/** Null if this machine has no etcd. */
export function etcdVersion(): string | null {
  try {
    return /etcd Version: (\S+)/.exec(execFileSync('etcd', ['--version']).toString())?.[1] ?? null
  } catch {
    return null
  }
}

export class EtcdServer {
  readonly port: number
  readonly #process: ChildProcess
  readonly #directory: string

  private constructor(port: number, process: ChildProcess, directory: string) {
    this.port = port
    this.#process = process
    this.#directory = directory
  }

  /** `tls` names files in PEM; with it clients must show a certificate of the same authority. */
  static async start(tls?: { ca: string; cert: string; key: string }): Promise<EtcdServer> {
    for (let attempt = 1; ; attempt++) {
      const directory = await mkdtemp(join(tmpdir(), 'understudy-etcd-'))
      const [clientPort, peerPort] = [await freePort(), await freePort()]
      const client = `${tls ? 'https' : 'http'}://127.0.0.1:${clientPort}`
      const peer = `http://127.0.0.1:${peerPort}`
      const options: Record<string, string> = {
        'data-dir': directory,
        'listen-client-urls': client,
        'advertise-client-urls': client,
        'listen-peer-urls': peer,
        'initial-advertise-peer-urls': peer,
        'initial-cluster': `default=${peer}`,
        // The shortest lease is one and a half election timeouts, rounded up to a second: the default makes two of it.
        'heartbeat-interval': '50',
        'election-timeout': '500',
      }
      if (tls) {
        Object.assign(options, { 'cert-file': tls.cert, 'key-file': tls.key, 'trusted-ca-file': tls.ca })
        options['client-cert-auth'] = 'true'
      }
      const child = spawn(
        'etcd',
        Object.entries(options).map(([name, value]) => `--${name}=${value}`),
        { stdio: ['ignore', 'ignore', 'pipe'] },
      )
      let log = ''
      const ready = new Promise<boolean>((resolve) => {
        child.stderr!.on('data', (part: Buffer) => {
          log = (log + part.toString()).slice(-20_000)
          if (/serving .*client requests/.test(log)) resolve(true)
        })
        child.once('exit', () => resolve(false))
      })
      if (await ready) return new EtcdServer(clientPort, child, directory)
      await rm(directory, { recursive: true, force: true })
      if (attempt === START_ATTEMPTS_MAX) throw new Error(`etcd does not start:\n${log}`)
    }
  }

  /** SIGSTOP: it hangs with all its connections. */
  stop(): void {
    this.#process.kill('SIGSTOP')
  }

  continue(): void {
    this.#process.kill('SIGCONT')
  }

  async dispose(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exited = once(this.#process, 'exit')
      this.#process.kill('SIGKILL')
      await exited
    }
    await rm(this.#directory, { recursive: true, force: true })
  }
}

interface WayState {
  isCut: boolean
  losesAnswer: boolean
}

/** Passes connections on to a port of loopback until it is cut. */
export class CuttableWay {
  readonly port: number
  readonly #server: Server
  readonly #sockets: Set<Socket>
  readonly #state: WayState

  private constructor(server: Server, sockets: Set<Socket>, state: WayState, port: number) {
    this.#server = server
    this.#sockets = sockets
    this.#state = state
    this.port = port
  }

  static async open(toPort: number): Promise<CuttableWay> {
    const sockets = new Set<Socket>()
    const state: WayState = { isCut: false, losesAnswer: false }
    const keep = (socket: Socket): Socket => {
      sockets.add(socket)
      return socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    }
    const server = createServer((near) => {
      keep(near)
      if (state.isCut) return near.destroy()
      const far = keep(connect(toPort, '127.0.0.1'))
      near.pipe(far)
      far.on('data', (part: Buffer) => {
        if (!state.losesAnswer) near.write(part)
        else {
          state.losesAnswer = false
          near.destroy()
        }
      })
      near.on('close', () => far.destroy())
      far.on('close', () => near.destroy())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new CuttableWay(server, sockets, state, portOf(server))
  }

  cut(): void {
    this.#state.isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  /** What is asked next is passed on and done, and its answer kept back. */
  loseNextAnswer(): void {
    this.#state.losesAnswer = true
  }

  heal(): void {
    this.#state.isCut = false
  }

  async dispose(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
