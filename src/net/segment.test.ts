import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { REDELIVERY_AGE_MS_MAX, REDELIVERY_FRAMES_MAX, RedeliveryBuffer } from './redelivery.ts'
import { FIRST_LINK, Segment } from './segment.ts'

const GUEST = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
const HOST = [0x52, 0x55, 0x0a, 0, 2, 2]

function frame(to: readonly number[], from: readonly number[], tag: number): Uint8Array {
  return new Uint8Array([...to, ...from, 8, 0, tag >> 8, tag & 0xff])
}

const inward = (tag: number) => frame(GUEST, HOST, tag)
const outward = (tag: number) => frame(HOST, GUEST, tag)
const tagOf = (bytes: Uint8Array) => (bytes[14]! << 8) | bytes[15]!

interface Sent {
  readonly to: string
  readonly tag: number
}

interface World {
  readonly segment: Segment
  readonly sent: Sent[]
  readonly wentLive: [number, number][]
  readonly fenced: [number, number][]
  /** Links that take no more frames. */
  readonly slow: Set<number>
}

function recording(): World {
  const wentLive: [number, number][] = []
  const sent: Sent[] = []
  const fenced: [number, number][] = []
  const slow = new Set<number>()
  const segment = new Segment({
    toUplink: (bytes) => sent.push({ to: 'uplink', tag: tagOf(bytes) }),
    toPlainPort: (id, bytes) => sent.push({ to: `plain ${id}`, tag: tagOf(bytes) }),
    toLink(id, bytes) {
      if (slow.has(id)) return false
      sent.push({ to: `link ${id}`, tag: tagOf(bytes) })
      return true
    },
    wentLive: (id, generation) => wentLive.push([id, generation]),
    fenced: (id, generation) => fenced.push([id, generation]),
  })
  return { segment, sent, wentLive, fenced, slow }
}

const [A, B, C] = [FIRST_LINK, FIRST_LINK + 1, FIRST_LINK + 2]

describe('Segment', () => {
  let world: ReturnType<typeof recording>
  let segment: Segment
  beforeEach(() => {
    world = recording()
    segment = world.segment
  })

  it('lets only the live replica send and receive', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    segment.fromLink(A, outward(1), 0)
    segment.fromLink(B, outward(2), 0)
    segment.fromUplink(inward(3), 0)
    expect(world.sent).toEqual([
      { to: 'uplink', tag: 1 },
      { to: `link ${A}`, tag: 3 },
    ])
    expect(segment.counters.notLiveDropped).toBe(1)
  })

  it('fences the old primary when a newer generation goes live', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    segment.goLive(B, 2, 0)
    expect(world.fenced).toEqual([[A, 2]])
    expect(world.wentLive).toEqual([
      [A, 1],
      [B, 2],
    ])
    segment.fromLink(A, outward(1), 0)
    segment.fromLink(B, outward(2), 0)
    expect(world.sent).toEqual([{ to: 'uplink', tag: 2 }])
    expect(() => segment.goLive(A, 1, 0)).toThrow(expect.objectContaining({ code: 'NET_GENERATION_OLD' }))
    expect(() => segment.attach(C, 1)).toThrow(expect.objectContaining({ code: 'NET_GENERATION_OLD' }))
  })

  it('refuses two live replicas in one generation, but lets one link up again', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    expect(() => segment.goLive(B, 1, 0)).toThrow(expect.objectContaining({ code: 'NET_GENERATION_TAKEN' }))
    segment.detach(A)
    segment.attach(C, 1)
    segment.goLive(C, 1, 0)
    expect(segment.live).toBe(C)
  })

  it('lets the live replica go on alone in a new generation, delivering nothing twice', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    segment.fromUplink(inward(1), 0)
    segment.goLive(A, 2, 0)
    segment.fromUplink(inward(2), 0)
    expect(world.sent.map(({ tag }) => tag)).toEqual([1, 2])
    expect(segment.counters).toMatchObject({ redelivered: 0, takeovers: 0 })
    expect(() => segment.goLive(B, 1, 0)).toThrow(expect.objectContaining({ code: 'NET_GENERATION_OLD' }))
    // Counting goes on: two are taken, of both generations.
    segment.taken(A, 2)
    segment.detach(A)
    segment.goLive(B, 3, 0)
    expect(segment.counters).toMatchObject({ redelivered: 0, takeovers: 1 })
  })

  it('gives the next live replica what the last one may have lost, in order', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    for (const tag of [1, 2, 3]) segment.fromUplink(inward(tag), 0)
    segment.taken(A, 2)
    segment.detach(A)
    segment.fromUplink(inward(4), 100)
    world.sent.length = 0
    segment.goLive(B, 2, 200)
    segment.fromUplink(inward(5), 200)
    expect(world.sent.map(({ to, tag }) => [to, tag])).toEqual([3, 4, 5].map((tag) => [`link ${B}`, tag]))
    expect(segment.counters).toMatchObject({ redelivered: 2, takeovers: 1 })
    // Numbers start anew on the new link: two taken leaves frame 5.
    segment.taken(B, 2)
    segment.attach(C, 2)
    segment.goLive(C, 3, 200)
    expect(world.sent.at(-1)).toEqual({ to: `link ${C}`, tag: 5 })
    expect(segment.counters.redelivered).toBe(3)
  })

  it('keeps what a slow replica did not get', () => {
    segment.attach(A, 1)
    segment.attach(B, 1)
    segment.goLive(A, 1, 0)
    world.slow.add(A)
    segment.fromUplink(inward(1), 0)
    world.slow.delete(A)
    segment.fromUplink(inward(2), 0)
    segment.taken(A, 1)
    world.sent.length = 0
    segment.goLive(B, 2, 0)
    expect(world.sent).toEqual([{ to: `link ${B}`, tag: 1 }])
  })

  it('forgets frames whose senders have repeated them', () => {
    segment.fromUplink(inward(1), 0)
    segment.attach(A, 1)
    segment.goLive(A, 1, REDELIVERY_AGE_MS_MAX + 1)
    expect(world.sent).toEqual([])
  })

  it('connects plain ports as any switch does', () => {
    segment.addPlainPort(9)
    segment.attach(A, 1)
    segment.goLive(A, 1, 0)
    segment.fromPlainPort(9, frame(GUEST, [2, 0, 0, 0, 0, 9], 1), 0)
    expect(world.sent).toEqual([
      { to: 'uplink', tag: 1 },
      { to: `link ${A}`, tag: 1 },
    ])
    segment.fromLink(A, frame([2, 0, 0, 0, 0, 9], GUEST, 2), 0)
    expect(world.sent.at(-1)).toEqual({ to: 'plain 9', tag: 2 })
    segment.removePlainPort(9)
  })

  it('never hears an older generation after a newer went live, whatever happens in what order', () => {
    const links = [A, B, C, FIRST_LINK + 3]
    const step = fc.record({
      link: fc.constantFrom(...links),
      act: fc.constantFrom('attach', 'detach', 'live', 'send', 'taken'),
      generation: fc.nat(5),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const { segment: subject, sent } = recording()
        const wentLiveAs = new Map<number, number>()
        const attached = new Set<number>()
        let newest = -1
        for (const { link, act, generation } of steps) {
          try {
            if (act === 'attach' && !attached.has(link)) {
              subject.attach(link, generation)
              attached.add(link)
            } else if (act === 'detach') {
              subject.detach(link)
              attached.delete(link)
              wentLiveAs.delete(link)
            } else if (act === 'live' && attached.has(link)) {
              subject.goLive(link, generation, 0)
              expect(generation).toBeGreaterThanOrEqual(newest)
              newest = generation
              wentLiveAs.set(link, generation)
            } else if (act === 'send') {
              const before = sent.length
              subject.fromLink(link, outward(link), 0)
              if (sent.length > before) expect(wentLiveAs.get(link)).toBe(newest)
            } else if (act === 'taken') subject.taken(link, generation)
          } catch (error) {
            expect(error).toHaveProperty('code', expect.stringMatching(/^NET_GENERATION_/))
          }
        }
      }),
    )
  })
})

describe('RedeliveryBuffer', () => {
  it('stays bounded in frames and bytes and drops the oldest first', () => {
    const buffer = new RedeliveryBuffer()
    for (let tag = 0; tag < REDELIVERY_FRAMES_MAX + 10; tag++) buffer.keep(inward(tag), tag + 1, 0)
    expect(buffer.frameCount).toBe(REDELIVERY_FRAMES_MAX)
    expect(tagOf(buffer.drain(0)[0]!)).toBe(10)
    for (let i = 0; i < 300; i++) buffer.keep(new Uint8Array(65_536), null, 0)
    expect(buffer.frameCount).toBe(128)
  })
})
