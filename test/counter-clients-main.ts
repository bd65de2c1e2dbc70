/**
 * `node test/counter-clients-main.ts ADDRESS PORT CLIENTS KEYS PAUSE-MS ANSWER-MS-MAX SEED`: clients of one Redis, in a process of
 * its own because it has to live in a network namespace. Prints a JSON record a line, `"started"` when every client was answered. When
 * its standard input ends, the clients finish, one of them reads every key once more, and it ends.
 */
import { Random } from '../src/sim/random.ts'
import { CounterClient } from './counter-client.ts'

const [address, ...numbers] = process.argv.slice(2)
const [port, clients, keys, pauseMs, answerMsMax, seed] = numbers.map(Number)
if (![port, clients, keys, pauseMs, answerMsMax, seed].every(Number.isFinite)) throw new RangeError('usage')

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)
const all = Array.from({ length: clients }, (_, n) => {
  const random = new Random(seed * 1000 + n)
  return new CounterClient({
    address,
    port,
    name: `c${n}`,
    keys,
    pauseMs,
    answerMsMax,
    random,
    record: print,
  })
})
process.stdin.resume().on('end', async () => {
  const [last, ...others] = all
  await Promise.all(others.map((client) => client.stop(false)))
  await last.stop(true)
})
void Promise.all(all.map((client) => client.start())).then(() => print('started'))
