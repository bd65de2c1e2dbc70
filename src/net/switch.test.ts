import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rarpAnnouncement } from './announce.ts'
import { LearningSwitch, MAC_AGE_MS_MAX } from './switch.ts'

const BROADCAST = new Uint8Array(6).fill(0xff)

function mac(n: number): Uint8Array {
  return new Uint8Array([0x52, 0x54, 0, 0, n >> 8, n & 0xff])
}

function frame(to: Uint8Array, from: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(60)
  bytes.set(to, 0)
  bytes.set(from, 6)
  return bytes
}

function withPorts(...ports: number[]): LearningSwitch {
  const ethernet = new LearningSwitch(4)
  for (const port of ports) ethernet.addPort(port)
  return ethernet
}

describe('LearningSwitch', () => {
  it('floods to an unknown address and forwards to a learned one', () => {
    const ethernet = withPorts(1, 2, 3)
    expect(ethernet.forward(1, frame(mac(2), mac(1)), 0)).toEqual([2, 3])
    expect(ethernet.forward(2, frame(mac(1), mac(2)), 0)).toEqual([1])
    expect(ethernet.forward(1, frame(mac(2), mac(1)), 0)).toEqual([2])
  })

  it('floods broadcast and multicast, but not to the bridge group', () => {
    const ethernet = withPorts(1, 2, 3)
    expect(ethernet.forward(1, frame(BROADCAST, mac(1)), 0)).toEqual([2, 3])
    expect(ethernet.forward(1, frame(new Uint8Array([1, 0, 0x5e, 0, 0, 1]), mac(1)), 0)).toEqual([2, 3])
    expect(ethernet.forward(1, frame(new Uint8Array([1, 0x80, 0xc2, 0, 0, 0x0e]), mac(1)), 0)).toEqual([])
  })

  it('moves an address to the port that announced it', () => {
    const ethernet = withPorts(1, 2, 3)
    ethernet.forward(1, frame(BROADCAST, mac(9)), 0)
    ethernet.forward(2, rarpAnnouncement(mac(9)), 1)
    expect(ethernet.forward(3, frame(mac(9), mac(3)), 2)).toEqual([2])
  })

  it('drops what no switch forwards: runts, group sources, frames already on their own port', () => {
    const ethernet = withPorts(1, 2)
    expect(ethernet.forward(1, new Uint8Array(13), 0)).toEqual([])
    expect(ethernet.forward(1, frame(mac(1), BROADCAST), 0)).toEqual([])
    ethernet.forward(1, frame(BROADCAST, mac(1)), 0)
    expect(ethernet.forward(1, frame(mac(1), mac(2)), 0)).toEqual([])
    expect(ethernet.forward(7, frame(BROADCAST, mac(7)), 0)).toEqual([])
  })

  it('forgets an address after its age, and with its port', () => {
    const ethernet = withPorts(1, 2, 3)
    ethernet.forward(1, frame(BROADCAST, mac(1)), 0)
    expect(ethernet.forward(2, frame(mac(1), mac(2)), MAC_AGE_MS_MAX)).toEqual([1])
    expect(ethernet.forward(2, frame(mac(1), mac(2)), MAC_AGE_MS_MAX + 1)).toEqual([1, 3])
    ethernet.removePort(2)
    expect(ethernet.forward(3, frame(mac(2), mac(3)), MAC_AGE_MS_MAX + 1)).toEqual([1])
    expect(ethernet.portOf(mac(2), MAC_AGE_MS_MAX + 1)).toBe(null)
  })

  it('keeps its table bounded by forgetting the address silent for longest', () => {
    const ethernet = withPorts(1, 2)
    for (const n of [1, 2, 3, 4, 1, 5]) ethernet.forward(1, frame(BROADCAST, mac(n)), n)
    expect(ethernet.addressCount).toBe(4)
    expect(ethernet.portOf(mac(2), 5)).toBe(null)
    expect(ethernet.portOf(mac(1), 5)).toBe(1)
  })

  it('never sends a frame back where it came from, nor to a port that is not there', () => {
    const ports = [1, 2, 3, 4]
    const step = fc.record({
      from: fc.constantFrom(...ports),
      to: fc.nat(6),
      source: fc.nat(6),
      removed: fc.nat(40),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ethernet = withPorts(...ports)
        const present = new Set(ports)
        steps.forEach(({ from, to, source, removed }, nowMs) => {
          if (ports.includes(removed)) {
            ethernet.removePort(removed)
            present.delete(removed)
          }
          const target = to === 6 ? BROADCAST : mac(to)
          const out = ethernet.forward(from, frame(target, mac(source)), nowMs)
          expect(out).not.toContain(from)
          expect(out.every((port) => present.has(port))).toBe(true)
          expect(new Set(out).size).toBe(out.length)
          expect(ethernet.addressCount).toBeLessThanOrEqual(4)
        })
      }),
    )
  })
})

describe('rarpAnnouncement', () => {
  it('is a broadcast RARP request for the address, of legal length', () => {
    const bytes = rarpAnnouncement(mac(0x1234))
    expect(Buffer.from(bytes).toString('hex')).toBe(
      `ffffffffffff5254000012348035000108000604000352540000123400000000525400001234${'00'.repeat(22)}`,
    )
    expect(bytes.length).toBe(60)
  })

  it('refuses what is no address', () => {
    expect(() => rarpAnnouncement(new Uint8Array(5))).toThrow(RangeError)
  })
})
