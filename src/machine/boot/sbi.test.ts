import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CONSOLE_BYTES_MAX,
  type HartState,
  type RemoteFence,
  type SbiArguments,
  type SbiMachine,
  type SbiResult,
  sbiCall,
} from './sbi.ts'

const BASE = 0x10n
const TIME = 0x54494d45n
const IPI = 0x735049n
const RFENCE = 0x52464e43n
const HSM = 0x48534dn
const SRST = 0x53525354n
const DBCN = 0x4442434en
const ALL_ONES = (1n << 64n) - 1n
const RAM = 0x8000_0000n
const RAM_BYTES = 0x1_0000n

/** Writes down what the firmware asks of the machine. */
class TestMachine implements SbiMachine {
  readonly harts = 4
  readonly identity = { vendor: 1n, architecture: 2n, implementation: 3n }
  readonly calls: unknown[][] = []
  readonly states: HartState[] = ['started', 'stopped', 'suspended', 'started']
  readonly ram = new Uint8Array(Number(RAM_BYTES))
  typed = new Uint8Array(0)

  setTimer(hart: number, deadline: bigint | null): void {
    this.calls.push(['setTimer', hart, deadline])
  }
  raiseSoftwareInterrupt(hart: number): void {
    this.#existing(hart)
    this.calls.push(['raise', hart])
  }
  clearSoftwareInterrupt(hart: number): void {
    this.calls.push(['clear', hart])
  }
  remoteFence(hart: number, fence: RemoteFence): void {
    this.#existing(hart)
    this.calls.push(['fence', hart, fence])
  }
  hartState(hart: number): HartState {
    this.#existing(hart)
    return this.states[hart]
  }
  startHart(hart: number, address: bigint, opaque: bigint): void {
    this.calls.push(['start', hart, address, opaque])
  }
  stopHart(hart: number): void {
    this.calls.push(['stop', hart])
  }
  suspendRetentive(hart: number): void {
    this.calls.push(['suspend', hart])
  }
  suspendNonRetentive(hart: number, address: bigint, opaque: bigint): void {
    this.calls.push(['suspend', hart, address, opaque])
  }
  systemReset(action: 'off' | 'reset', failed: boolean): void {
    this.calls.push(['reset', action, failed])
  }
  isMemory(address: bigint, lengthBytes: bigint): boolean {
    return address >= RAM && address + lengthBytes <= RAM + RAM_BYTES
  }
  readMemory(address: bigint, lengthBytes: number): Uint8Array {
    if (!this.isMemory(address, BigInt(lengthBytes))) throw new RangeError('read outside RAM')
    return this.ram.slice(Number(address - RAM), Number(address - RAM) + lengthBytes)
  }
  writeMemory(address: bigint, data: Uint8Array): void {
    if (!this.isMemory(address, BigInt(data.length))) throw new RangeError('write outside RAM')
    this.ram.set(data, Number(address - RAM))
  }
  consoleWrite(data: Uint8Array): void {
    this.calls.push(['console', ...data])
  }
  consoleRead(lengthMax: number): Uint8Array {
    const data = this.typed.slice(0, lengthMax)
    this.typed = this.typed.slice(lengthMax)
    return data
  }

  #existing(hart: number): void {
    if (!Number.isInteger(hart) || hart < 0 || hart >= this.harts)
      throw new RangeError(`there is no hart ${hart}`)
  }
}

function call(machine: TestMachine, extension: bigint, fid: bigint, ...args: bigint[]): SbiResult {
  const all = [...args, 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6)
  return sbiCall(machine, 0, [...all, fid, extension] as unknown as SbiArguments)
}

const ok = (value = 0n): SbiResult => ({ error: 0n, value })
const failed = (error: bigint): SbiResult => ({ error, value: 0n })

describe('BASE', () => {
  test('reports version 2.0, or Linux would not look for the debug console', () => {
    expect(call(new TestMachine(), BASE, 0n)).toEqual(ok(0x0200_0000n))
  })

  test('probes what is there as 1 and what is not as 0', () => {
    const machine = new TestMachine()
    for (const there of [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN, 0n, 8n])
      expect(call(machine, BASE, 3n, there)).toEqual(ok(1n))
    for (const absent of [0x504d55n, 0x53555350n, 0x4e41434cn, 0x535441n, 9n, 0x0900_0000n])
      expect(call(machine, BASE, 3n, absent)).toEqual(ok(0n))
  })

  test('gives the identity of the machine', () => {
    const machine = new TestMachine()
    expect([4n, 5n, 6n].map((fid) => call(machine, BASE, fid))).toEqual([ok(1n), ok(2n), ok(3n)])
  })
})

test('unknown extensions and functions are not supported', () => {
  const machine = new TestMachine()
  for (const [extension, fid] of [
    [9n, 0n],
    [0x504d55n, 0n],
    [BASE, 7n],
    [TIME, 1n],
    [IPI, 1n],
    [RFENCE, 3n],
    [RFENCE, 7n],
    [HSM, 4n],
    [SRST, 1n],
    [DBCN, 3n],
    [DBCN, ALL_ONES],
  ])
    expect(call(machine, extension, fid)).toEqual(failed(-2n))
  expect(machine.calls).toEqual([])
})

test('ids count by their low 32 bits, sign-extended or not', () => {
  expect(call(new TestMachine(), 0xffff_ffff_0000_0010n, 0n)).toEqual(ok(0x0200_0000n))
})

describe('TIME', () => {
  test('arms the timer of the caller; all ones clears it', () => {
    const machine = new TestMachine()
    call(machine, TIME, 0n, 1234n)
    call(machine, TIME, 0n, -1n)
    call(machine, TIME, 0n, ALL_ONES - 1n)
    expect(machine.calls).toEqual([
      ['setTimer', 0, 1234n],
      ['setTimer', 0, null],
      ['setTimer', 0, ALL_ONES - 1n],
    ])
  })
})

describe('IPI and RFENCE', () => {
  test('masks count from their base; a base of all ones means everybody', () => {
    const machine = new TestMachine()
    expect(call(machine, IPI, 0n, 0b101n, 1n)).toEqual(ok())
    expect(machine.calls.splice(0)).toEqual([
      ['raise', 1],
      ['raise', 3],
    ])
    expect(call(machine, IPI, 0n, 0n, ALL_ONES)).toEqual(ok())
    expect(machine.calls).toHaveLength(4)
  })

  test('one hart that does not exist spoils the call, and nobody is disturbed', () => {
    const machine = new TestMachine()
    for (const [mask, base] of [
      [0b11n, 3n],
      [1n << 63n, 0n],
      [1n, 4n],
      [0b11n, ALL_ONES - 1n],
    ]) {
      expect(call(machine, IPI, 0n, mask, base)).toEqual(failed(-3n))
      expect(call(machine, RFENCE, 0n, mask, base)).toEqual(failed(-3n))
    }
    expect(machine.calls).toEqual([])
  })

  test('an empty mask is fine', () => {
    expect(call(new TestMachine(), IPI, 0n, 0n, 0n)).toEqual(ok())
  })

  test('fences carry their range and address space', () => {
    const machine = new TestMachine()
    call(machine, RFENCE, 0n, 2n, 0n)
    call(machine, RFENCE, 1n, 1n, 0n, 0x1000n, 0x2000n)
    call(machine, RFENCE, 2n, 1n, 0n, 0x1000n, 0x2000n, 9n)
    call(machine, RFENCE, 1n, 1n, 0n, 0n, 0n)
    call(machine, RFENCE, 1n, 1n, 0n, 0x5000n, ALL_ONES)
    expect(machine.calls).toEqual([
      ['fence', 1, { kind: 'fence.i' }],
      ['fence', 0, { kind: 'sfence.vma', start: 0x1000n, sizeBytes: 0x2000n, asid: null }],
      ['fence', 0, { kind: 'sfence.vma', start: 0x1000n, sizeBytes: 0x2000n, asid: 9n }],
      ['fence', 0, { kind: 'sfence.vma', start: 0n, sizeBytes: null, asid: null }],
      ['fence', 0, { kind: 'sfence.vma', start: 0x5000n, sizeBytes: null, asid: null }],
    ])
  })
})

describe('HSM', () => {
  test('starts a stopped hart, and only that, at an address that is code', () => {
    const machine = new TestMachine()
    expect(call(machine, HSM, 0n, 1n, RAM + 4n, 77n)).toEqual(ok())
    expect(machine.calls.splice(0)).toEqual([['start', 1, RAM + 4n, 77n]])
    expect(call(machine, HSM, 0n, 0n, RAM, 0n)).toEqual(failed(-6n))
    expect(call(machine, HSM, 0n, 2n, RAM, 0n)).toEqual(failed(-6n))
    expect(call(machine, HSM, 0n, 1n, 0n, 0n)).toEqual(failed(-5n))
    expect(call(machine, HSM, 0n, 1n, RAM + 1n, 0n)).toEqual(failed(-5n))
    expect(call(machine, HSM, 0n, 4n, RAM, 0n)).toEqual(failed(-3n))
    expect(call(machine, HSM, 0n, -1n, RAM, 0n)).toEqual(failed(-3n))
    expect(machine.calls).toEqual([])
  })

  test('tells the state of a hart', () => {
    const machine = new TestMachine()
    expect([0n, 1n, 2n].map((hart) => call(machine, HSM, 2n, hart))).toEqual([ok(0n), ok(1n), ok(4n)])
    expect(call(machine, HSM, 2n, 1n << 40n)).toEqual(failed(-3n))
  })

  test('stopping and non-retentive suspending do not return', () => {
    const machine = new TestMachine()
    expect(call(machine, HSM, 1n)).toBeNull()
    expect(call(machine, HSM, 3n, 0x8000_0000n, RAM, 5n)).toBeNull()
    expect(call(machine, HSM, 3n, 0n)).toEqual(ok())
    expect(machine.calls).toEqual([
      ['stop', 0],
      ['suspend', 0, RAM, 5n],
      ['suspend', 0],
    ])
    expect(call(machine, HSM, 3n, 1n)).toEqual(failed(-3n))
    expect(call(machine, HSM, 3n, 0x1000_0000n)).toEqual(failed(-2n))
    expect(call(machine, HSM, 3n, 0x8000_0000n, 2n)).toEqual(failed(-5n))
  })
})

describe('SRST', () => {
  test('powers off or resets, with its reason', () => {
    const machine = new TestMachine()
    for (const [type, reason] of [
      [0n, 0n],
      [1n, 0n],
      [2n, 1n],
      [0n, 0xf000_0000n],
    ])
      expect(call(machine, SRST, 0n, type, reason)).toBeNull()
    expect(machine.calls).toEqual([
      ['reset', 'off', false],
      ['reset', 'reset', false],
      ['reset', 'reset', true],
      ['reset', 'off', true],
    ])
  })

  test('reserved types and reasons are invalid, a vendor type is not supported', () => {
    const machine = new TestMachine()
    expect(call(machine, SRST, 0n, 3n, 0n)).toEqual(failed(-3n))
    expect(call(machine, SRST, 0n, 0n, 2n)).toEqual(failed(-3n))
    expect(call(machine, SRST, 0n, 0xf000_0000n, 0n)).toEqual(failed(-2n))
    expect(machine.calls).toEqual([])
  })
})

describe('DBCN', () => {
  test('writes from memory, no more than one call may move', () => {
    const machine = new TestMachine()
    machine.ram.set([104, 105], 16)
    expect(call(machine, DBCN, 0n, 2n, RAM + 16n, 0n)).toEqual(ok(2n))
    expect(machine.calls.splice(0)).toEqual([['console', 104, 105]])
    expect(call(machine, DBCN, 0n, RAM_BYTES, RAM, 0n)).toEqual(ok(BigInt(CONSOLE_BYTES_MAX)))
    expect(machine.calls[0]).toHaveLength(1 + CONSOLE_BYTES_MAX)
    expect(call(machine, DBCN, 2n, 0x141n)).toEqual(ok())
    expect(machine.calls[1]).toEqual(['console', 0x41])
  })

  test('reads what was typed', () => {
    const machine = new TestMachine()
    machine.typed = Uint8Array.of(1, 2, 3)
    expect(call(machine, DBCN, 1n, 2n, RAM, 0n)).toEqual(ok(2n))
    expect(call(machine, DBCN, 1n, 5n, RAM + 2n, 0n)).toEqual(ok(1n))
    expect(call(machine, DBCN, 1n, 5n, RAM, 0n)).toEqual(ok(0n))
    expect([...machine.ram.subarray(0, 3)]).toEqual([1, 2, 3])
  })

  test('a buffer that is not all memory is invalid', () => {
    const machine = new TestMachine()
    for (const fid of [0n, 1n])
      for (const [length, low, high] of [
        [1n, 0n, 0n],
        [RAM_BYTES + 1n, RAM, 0n],
        [1n, RAM, 1n],
        [ALL_ONES, RAM, 0n],
        [2n, ALL_ONES, 0n],
      ])
        expect(call(machine, DBCN, fid, length, low, high)).toEqual(failed(-3n))
    expect(machine.calls).toEqual([])
  })
})

describe('legacy calls', () => {
  test('change only a0', () => {
    const machine = new TestMachine()
    machine.typed = Uint8Array.of(9)
    expect(call(machine, 1n, 0n, 65n)).toEqual({ legacy: 0n })
    expect(call(machine, 2n, 0n)).toEqual({ legacy: 9n })
    expect(call(machine, 2n, 0n)).toEqual({ legacy: -1n })
    expect(call(machine, 0n, 0n, ALL_ONES)).toEqual({ legacy: 0n })
    expect(call(machine, 3n, 0n)).toEqual({ legacy: 0n })
    expect(call(machine, 8n, 0n)).toBeNull()
    expect(machine.calls).toEqual([
      ['console', 65],
      ['setTimer', 0, null],
      ['clear', 0],
      ['reset', 'off', false],
    ])
  })
})

test('hostile arguments never throw', () => {
  const word = fc.oneof(
    fc.constantFrom(
      0n,
      1n,
      3n,
      4n,
      RAM,
      RAM + RAM_BYTES,
      RAM + RAM_BYTES - 1n,
      ALL_ONES,
      -1n,
      1n << 63n,
      0x8000_0000n,
    ),
    fc.bigInt({ min: -(1n << 63n), max: ALL_ONES }),
  )
  const extension = fc.oneof(
    fc.constantFrom(BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN),
    fc.bigInt({ min: 0n, max: 9n }),
    word,
  )
  fc.assert(
    fc.property(
      fc.tuple(
        word,
        word,
        word,
        word,
        word,
        word,
        fc.oneof(fc.bigInt({ min: 0n, max: 8n }), word),
        extension,
      ),
      (registers) => {
        const result = sbiCall(new TestMachine(), 0, registers)
        if (result !== null && 'error' in result) expect([0n, -2n, -3n, -5n, -6n]).toContain(result.error)
      },
    ),
    { numRuns: 3000 },
  )
})
