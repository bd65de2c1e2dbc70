/** The clients and what they write down, against a Redis of a few lines that is right or wrong on purpose. */
import { spawn } from 'node:child_process'
import { createServer, type Server, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { type ClientHistory, CounterClients } from './counter-clients.ts'
import { counterModel, registerModel } from './history.ts'
import { checkHistory } from './linearizability.ts'
import { RedisReplies, redisCommand } from './redis-protocol.ts'
import { until } from './test-cluster.ts'

const WAIT_MS = 20_000

/** What becomes of a command: it is done and answered, done and not answered, or neither. */
type Fate = 'answered' | 'done' | 'lost' | 'ignored'

class FakeRedis {
  values = new Map<string, string>()
  /** Answers reads instead, if it is there. */
  stale: ReadonlyMap<string, string> | null = null
  commands = 0
  fate: (command: readonly string[], n: number) => Fate = () => 'answered'
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor() {
    this.#server = createServer((socket) => this.#serve(socket))
  }

  listen(port = 0): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', () => resolve((this.#server.address() as { port: number }).port))
    })
  }

  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  close(): Promise<unknown> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined)
    socket.setEncoding('latin1').on('data', (text: string) => {
      // Clients send one command and wait, so a piece is a command.
      const command = text.split('\r\n').filter((_, i) => i > 0 && i % 2 === 0)
      const fate = this.fate(command, this.commands++)
      if (fate === 'ignored') return
      const answer = fate === 'lost' ? null : this.#do(command)
      if (fate === 'answered') socket.write(answer!)
      else socket.destroy()
    })
  }

  #do([verb, key, value]: readonly string[]): string {
    const before = (verb === 'GET' ? (this.stale ?? this.values) : this.values).get(key)
    switch (verb) {
      case 'INCR': {
        const next = String(Number(before ?? '0') + 1)
        this.values.set(key, next)
        return `:${next}\r\n`
      }
      case 'SET':
        this.values.set(key, value)
        return '+OK\r\n'
      case 'GET':
        return before === undefined ? '$-1\r\n' : `$${before.length}\r\n${before}\r\n`
      default:
        return '-ERR\r\n'
    }
  }
}

let redis: FakeRedis | null = null
let clients: CounterClients | null = null

afterEach(async () => {
  clients?.kill()
  clients = null
  await redis?.close()
  redis = null
})

async function started(fate?: FakeRedis['fate'], options: { answerMsMax?: number; port?: number } = {}) {
  redis = new FakeRedis()
  if (fate !== undefined) redis.fate = fate
  const port = options.port ?? (await redis.listen())
  const { answerMsMax = WAIT_MS } = options
  const asked = { address: '127.0.0.1', port, clients: 4, keys: 2, pauseMs: 0, answerMsMax, seed: 7 }
  clients = new CounterClients((program, args, how) => spawn(program, args, how), asked)
  return { redis, clients }
}

function answered(clients: CounterClients, count: number): Promise<true> {
  return until(
    async () => clients.answered >= count || undefined,
    WAIT_MS,
    async () => `${clients.answered} of ${count} were answered`,
  )
}

const verdicts = ({ counters, registers }: ClientHistory) => [
  checkHistory(counterModel, counters).verdict,
  checkHistory(registerModel, registers).verdict,
]

describe('the clients', () => {
  it('write down a history that is linearizable, of a Redis that is right', async () => {
    const { clients, redis } = await started()
    await clients.started()
    await answered(clients, 2_000)
    const history = await clients.stop()
    expect(verdicts(history)).toEqual(['linearizable', 'linearizable'])
    expect(history.breaks).toEqual([])
    // Every key is read once more at the end.
    const byCall = [...history.counters, ...history.registers].sort((a, b) => a.callMs - b.callMs)
    expect(byCall.slice(-4).map(({ key, request }) => [request.kind, key])).toEqual([
      ['read', 'counter:0'],
      ['read', 'register:0'],
      ['read', 'counter:1'],
      ['read', 'register:1'],
    ])
    for (const key of ['counter:0', 'counter:1']) {
      const last = history.counters.findLast((operation) => operation.key === key)!
      expect([last.request.kind, String(last.result!.value)]).toEqual(['read', redis.values.get(key)])
    }
    const writes = history.registers.flatMap(({ request }) =>
      request.kind === 'write' ? [request.value] : [],
    )
    expect(new Set(writes).size).toBe(writes.length)
    expect(writes.length).toBeGreaterThan(100)
  })

  it('write down answers that never came, done or not, and go on as others', async () => {
    const { clients } = await started((_, n) =>
      n % 50 === 49 ? (n % 100 === 99 ? 'done' : 'lost') : 'answered',
    )
    await answered(clients, 1_500)
    const history = await clients.stop()
    const open = [...history.counters, ...history.registers].filter(({ returnMs }) => returnMs === null)
    expect(history.breaks.length).toBeGreaterThan(20)
    expect(open.length).toBe(history.breaks.length)
    expect(open.map(({ process }) => process).sort()).toEqual(
      history.breaks.map(({ process }) => process).sort(),
    )
    expect(new Set(history.breaks.map(({ why }) => why))).toEqual(new Set(['closed']))
    expect(verdicts(history)).toEqual(['linearizable', 'linearizable'])
  })

  it('tell a reset and an answer that is late apart', async () => {
    const { clients, redis } = await started()
    await answered(clients, 100)
    redis.resetAll()
    await answered(clients, clients.answered + 100)
    expect(clients.history.breaks.map(({ why }) => why)).toEqual(['reset', 'reset', 'reset', 'reset'])
  })

  it('give up on an answer in time', async () => {
    const { clients } = await started((_, n) => (n === 20 ? 'ignored' : 'answered'), { answerMsMax: 200 })
    await answered(clients, 100)
    await until(
      async () => clients.history.breaks.length > 0 || undefined,
      WAIT_MS,
      async () => 'no break',
    )
    expect(clients.history.breaks.map(({ why }) => why)).toEqual(['timed-out'])
  })

  it('wait for a Redis that is not there yet, without calling that a break', async () => {
    const { redis, clients } = await started(undefined, { port: 1 })
    clients.kill()
    const port = await redis.listen()
    await redis.close()
    const late = new CounterClients((program, args, how) => spawn(program, args, how), {
      ...{ address: '127.0.0.1', port, clients: 2, keys: 1, pauseMs: 0, answerMsMax: WAIT_MS, seed: 1 },
    })
    const again = new FakeRedis()
    try {
      await again.listen(port)
      await late.started()
      expect((await late.stop()).breaks).toEqual([])
    } finally {
      late.kill()
      await again.close()
    }
  })
})

/** What a takeover that breaks its promises would do to the values. */
describe('a Redis that goes back is found out', () => {
  it('an acknowledged increment is lost', async () => {
    const { clients, redis } = await started()
    await answered(clients, 300)
    const count = redis.values.get('counter:0')!
    redis.values.set('counter:0', String(Number(count) - 1))
    await answered(clients, clients.answered + 300)
    const { counters } = await clients.stop()
    const found = checkHistory(counterModel, counters)
    expect(found).toMatchObject({ verdict: 'violation', key: 'counter:0' })
    if (found.verdict === 'violation') expect(found.window.length).toBeLessThan(40)
  })

  it('an increment happens twice', async () => {
    const { clients, redis } = await started()
    await answered(clients, 300)
    redis.values.set('counter:1', String(Number(redis.values.get('counter:1')) + 1))
    await answered(clients, clients.answered + 300)
    expect(verdicts(await clients.stop())).toEqual(['violation', 'linearizable'])
  })

  it('registers answer with old values', async () => {
    const { clients, redis } = await started()
    await answered(clients, 300)
    redis.stale = new Map(redis.values)
    await answered(clients, clients.answered + 300)
    const { registers } = await clients.stop()
    expect(checkHistory(registerModel, registers).verdict).toBe('violation')
  })
})

describe('the protocol of Redis', () => {
  it('is read alike however it is cut into pieces', () => {
    const whole = ':12\r\n$-1\r\n$5\r\na\r\nbc\r\n+OK\r\n-ERR no\r\n$0\r\n\r\n'
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 10 }), (cuts) => {
        const replies = new RedisReplies()
        const ends = [...cuts, whole.length].sort((a, b) => a - b)
        expect(ends.flatMap((end, i) => replies.push(whole.slice(ends[i - 1] ?? 0, end)))).toEqual([
          { kind: 'integer', value: 12 },
          { kind: 'bulk', value: null },
          { kind: 'bulk', value: 'a\r\nbc' },
          { kind: 'status', text: 'OK' },
          { kind: 'error', text: 'ERR no' },
          { kind: 'bulk', value: '' },
        ])
      }),
    )
  })

  it('refuses what is none, and what has no end', () => {
    for (const text of ['x\r\n', ':a\r\n', '$9999999\r\n', '$1\r\nabcd', '$-2\r\n', `+${'a'.repeat(9_000)}`])
      expect(() => new RedisReplies().push(text), text).toThrow()
  })

  it('writes commands as arrays', () => {
    expect(redisCommand('SET', 'a', 'b1')).toBe('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nb1\r\n')
  })
})
