import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Network, type Weather } from './network.ts'
import { Process } from './process.ts'
import { Random } from './random.ts'
import { Scheduler } from './scheduler.ts'
import { SimulatedStore, StoreAccess } from './store.ts'

const CALM: Weather = { latencyMsMin: 0.1, latencyMsMax: 5, loss: 0, duplication: 0, delay: 0 }
const NEVER = (): boolean => false

function world(seed: number, weather: Weather = CALM) {
  const scheduler = new Scheduler()
  const random = new Random(seed)
  return {
    scheduler,
    random,
    network: new Network(scheduler, random, weather),
    process: new Process(scheduler, random),
  }
}

/** Opens a stream, lets `script` write to it and disturb it, and returns what arrived. */
function arrivals(
  seed: number,
  script: (pipe: ReturnType<Network['pipe']>, scheduler: Scheduler, network: Network) => void,
) {
  const { scheduler, network, process } = world(seed)
  const got: number[] = []
  let ended = false
  const pipe = network.pipe('a', 'b', process, (bytes) => {
    expect(ended).toBe(false)
    if (bytes === 'end') ended = true
    else got.push(...bytes)
  })
  script(pipe, scheduler, network)
  scheduler.run(scheduler.nowMs + 10_000, NEVER)
  return { got, ended }
}

describe('a simulated stream', () => {
  test('delivers everything in order, over cuts and stalls, then the end', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 9 }), { maxLength: 20 }),
        (seed, writes) => {
          const { got, ended } = arrivals(seed, (pipe, scheduler, network) => {
            for (const [index, bytes] of writes.entries()) {
              pipe.write(bytes)
              if (index % 3 === 0) network.cut('a', 'b')
              if (index % 4 === 0) network.stall('a', 'b')
              scheduler.run(scheduler.nowMs + 2, NEVER)
              if (index % 3 === 2) network.heal('a', 'b')
            }
            network.heal('a', 'b')
            pipe.end()
          })
          expect(got).toEqual(writes.flatMap((bytes) => [...bytes]))
          expect(ended).toBe(true)
        },
      ),
    )
  })

  test('torn, delivers a prefix that may end inside a message, then the end', () => {
    let torn = 0
    for (let seed = 0; seed < 100; seed++) {
      const message = Uint8Array.from({ length: 10 }, (_, index) => index)
      const { got, ended } = arrivals(seed, (pipe) => {
        for (let count = 0; count < 5; count++) pipe.write(message)
        pipe.tear()
        pipe.write(message)
      })
      expect(ended).toBe(true)
      expect(got).toEqual(Array.from({ length: 50 }, (_, index) => index % 10).slice(0, got.length))
      if (got.length % 10 !== 0) torn++
    }
    expect(torn).toBeGreaterThan(50)
  })
})

describe('simulated datagrams', () => {
  test('are lost, repeated and overtaken in bad weather only', () => {
    const send = (weather: Weather): number[] => {
      const { scheduler, network, process } = world(1, weather)
      const got: number[] = []
      for (let index = 0; index < 500; index++) {
        network.datagram('a', 'b', process, () => got.push(index))
        scheduler.run(scheduler.nowMs + 10, NEVER)
      }
      scheduler.run(scheduler.nowMs + 1_000, NEVER)
      return got
    }
    const everything = Array.from({ length: 500 }, (_, index) => index)
    expect(send(CALM)).toEqual(everything)
    const rough = send({ ...CALM, loss: 0.2, duplication: 0.2, delay: 0.2 })
    expect(new Set(rough).size).toBeLessThan(450)
    expect(rough.length).toBeGreaterThan(new Set(rough).size)
    expect([...rough].sort((a, b) => a - b)).not.toEqual(rough)
  })
})

describe('a simulated process', () => {
  test('paused, does nothing; continued, does what waited, in order, after what it was in the middle of', () => {
    const { scheduler, process } = world(1)
    const done: string[] = []
    process.pause(100)
    process.deliver(() => done.push('first'))
    process.timer(50, () => done.push('timer'))
    process.resumeWith(() => done.push('rest of the step'))
    scheduler.run(99, NEVER)
    expect(done).toEqual([])
    scheduler.run(101, NEVER)
    expect(done).toEqual(['rest of the step', 'first', 'timer'])
  })

  test('dead, stays so', () => {
    const { scheduler, process } = world(1)
    let ran = false
    process.timer(10, () => {
      ran = true
    })
    process.pause(5)
    process.die()
    process.deliver(() => {
      ran = true
    })
    scheduler.run(100, NEVER)
    expect(ran).toBe(false)
  })
})

describe('the simulated store', () => {
  test('has one winner for each generation, however often and by whomever it is asked, also through lost answers', () => {
    for (let seed = 0; seed < 50; seed++) {
      const { scheduler, random, process } = world(seed)
      const store = new SimulatedStore(new StoreAccess(scheduler, random, 20, 0.5))
      const wins = new Set<string>()
      const losses = new Set<string>()
      const ask = (name: string): void =>
        store.testAndSet({ name, host: name, process }, 5, (outcome) => {
          if (outcome === 'won') wins.add(name)
          else if (outcome === 'lost') losses.add(name)
          else ask(name)
        })
      for (let round = 0; round < 20; round++) for (const name of ['a', 'b']) ask(name)
      scheduler.run(10_000, NEVER)
      expect([...wins]).toEqual([store.winnerOf(5)])
      expect([...losses]).toEqual([store.winnerOf(5) === 'a' ? 'b' : 'a'])
    }
  })
})
