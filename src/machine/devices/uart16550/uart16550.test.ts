import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TestContext } from '../testing/test-context.ts'
import { UART_BACKLOG_BYTES_MAX, Uart16550 } from './uart16550.ts'

const RBR = 0
const IER = 1
const IIR = 2
const LCR = 3
const MCR = 4
const LSR = 5
const MSR = 6

const NONE = 0x01
const TRANSMIT_EMPTY = 0x02
const RECEIVED = 0x04
const LINE_STATUS = 0x06
const TIMEOUT = 0x0c

function bench() {
  const context = new TestContext()
  const uart = new Uart16550(context)
  return {
    context,
    uart,
    read: (offset: number) => uart.read(offset),
    write: (offset: number, value: number) => uart.write(offset, 1, value),
  }
}

const text = (data: string): Uint8Array => new TextEncoder().encode(data)

describe('sending', () => {
  test('the transmitter is always empty, and a slice gathers one output', () => {
    const { uart, context, read, write } = bench()
    for (const byte of text('hello')) {
      expect(read(LSR) & 0x60).toBe(0x60)
      write(RBR, byte)
    }
    expect(context.takeOutputs()).toEqual([])
    uart.flush()
    expect(context.takeOutputs()).toEqual([{ kind: 'console-tx', port: 'uart', data: text('hello') }])
    uart.flush()
    expect(context.takeOutputs()).toEqual([])
  })

  test('much output leaves in pieces before the slice ends', () => {
    const { uart, context, write } = bench()
    for (let count = 0; count < 5000; count++) write(RBR, count)
    expect(context.outputs).toHaveLength(1)
    uart.flush()
    expect(
      context.takeOutputs().map((output) => (output.kind === 'console-tx' ? output.data.length : 0)),
    ).toEqual([4096, 904])
  })

  test('THRE interrupts: on enabling, after each byte, and taken back by reading IIR', () => {
    const { context, read, write } = bench()
    write(RBR, 65)
    expect(context.asserted).toBe(false)
    write(IER, 2)
    expect(context.asserted).toBe(true)
    expect(read(IIR)).toBe(TRANSMIT_EMPTY)
    expect(context.asserted).toBe(false)
    expect(read(IIR)).toBe(NONE)
    write(RBR, 66)
    expect(read(IIR)).toBe(TRANSMIT_EMPTY)
    write(IER, 0)
    write(IER, 2)
    expect(read(IIR)).toBe(TRANSMIT_EMPTY)
    write(IIR, 4)
    expect(read(IIR)).toBe(TRANSMIT_EMPTY)
    expect(read(IIR)).toBe(NONE)
  })

  test('a pending received byte hides THRE and reading IIR does not take THRE back then', () => {
    const { uart, read, write } = bench()
    write(IER, 3)
    uart.receive(text('x'))
    expect(read(IIR)).toBe(RECEIVED)
    expect(read(RBR)).toBe(0x78)
    expect(read(IIR)).toBe(TRANSMIT_EMPTY)
    expect(read(IIR)).toBe(NONE)
  })
})

describe('receiving', () => {
  test('bytes arrive once and in order, whatever is set up meanwhile', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.record({ kind: fc.constant('type' as const), data: fc.uint8Array({ maxLength: 40 }) }),
            fc.record({ kind: fc.constant('read' as const), count: fc.nat(30) }),
            fc.record({ kind: fc.constant('clone' as const) }),
          ),
          { maxLength: 30 },
        ),
        fc.boolean(),
        (steps, fifo) => {
          const context = new TestContext()
          let uart = new Uart16550(context)
          if (fifo) uart.write(IIR, 1, 0x01)
          uart.write(IER, 1, 1)
          const typed: number[] = []
          const got: number[] = []
          for (const step of steps) {
            if (step.kind === 'type') {
              expect(uart.receive(step.data)).toBe(step.data.length)
              typed.push(...step.data)
            } else if (step.kind === 'read') {
              for (let count = 0; count < step.count && (uart.read(LSR) & 1) !== 0; count++)
                got.push(uart.read(RBR))
            } else {
              const twin = new Uart16550(context)
              twin.restore(structuredClone(uart.save()))
              expect(twin.save()).toEqual(uart.save())
              uart = twin
            }
            // The line is up exactly while something waits.
            expect(context.asserted).toBe(typed.length > got.length)
          }
          while ((uart.read(LSR) & 1) !== 0) got.push(uart.read(RBR))
          expect(got).toEqual(typed)
          expect(uart.read(RBR)).toBe(0)
        },
      ),
    )
  })

  test('a FIFO at its trigger says received, below it timed out', () => {
    const { uart, read, write } = bench()
    write(IIR, 0x81)
    write(IER, 1)
    uart.receive(text('1234567'))
    expect(read(IIR)).toBe(0xc0 | TIMEOUT)
    uart.receive(text('8'))
    expect(read(IIR)).toBe(0xc0 | RECEIVED)
    for (let count = 0; count < 8; count++) read(RBR)
    expect(read(IIR)).toBe(0xc0 | NONE)
  })

  test('clearing the FIFO loses what is in it, not what has not arrived', () => {
    const { uart, read, write } = bench()
    write(IIR, 1)
    uart.receive(text('0123456789abcdefXYZ'))
    write(IIR, 3)
    expect(String.fromCharCode(read(RBR), read(RBR), read(RBR))).toBe('XYZ')
    expect(read(LSR) & 1).toBe(0)
  })

  test('the backlog is bounded and says how much it took', () => {
    const { uart } = bench()
    expect(uart.receive(new Uint8Array(UART_BACKLOG_BYTES_MAX))).toBe(UART_BACKLOG_BYTES_MAX)
    // One byte has moved on into the receiver.
    expect(uart.receiveFree).toBe(1)
    expect(uart.receive(new Uint8Array(10))).toBe(1)
    expect(uart.receiveFree).toBe(0)
  })
})

describe('the rest', () => {
  test('DLAB turns the first two registers into the divisor', () => {
    const { read, write, context, uart } = bench()
    write(IER, 5)
    write(LCR, 0x83)
    write(RBR, 0x34)
    write(IER, 0x12)
    expect([read(RBR), read(IER)]).toEqual([0x34, 0x12])
    write(LCR, 0x03)
    expect(read(IER)).toBe(5)
    uart.flush()
    expect(context.takeOutputs()).toEqual([])
  })

  test('loopback wires outputs to inputs, cuts the line off, and overruns', () => {
    const { read, write, context, uart } = bench()
    write(MCR, 0x1a)
    expect(read(MSR) & 0xf0).toBe(0x90)
    write(MCR, 0x15)
    expect(read(MSR) & 0xf0).toBe(0x60)
    write(IER, 4)
    uart.receive(text('x'))
    write(RBR, 1)
    expect(read(LSR)).toBe(0x61)
    write(RBR, 2)
    expect(read(IIR)).toBe(LINE_STATUS)
    expect(read(LSR)).toBe(0x63)
    expect(read(IIR)).toBe(NONE)
    expect(read(RBR)).toBe(2)
    write(IIR, 1)
    for (let byte = 0; byte < 17; byte++) write(RBR, byte)
    expect(read(LSR)).toBe(0x63)
    expect(Array.from({ length: 16 }, () => read(RBR))).toEqual(Array.from({ length: 16 }, (_, byte) => byte))
    expect(read(LSR)).toBe(0x60)
    uart.flush()
    expect(context.takeOutputs()).toEqual([])
    write(MCR, 0)
    expect(read(RBR)).toBe(0x78)
    expect(read(MSR)).toBe(0xb0)
  })

  test('random accesses never throw and give bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(0xff), fc.nat(0xffff_ffff), fc.boolean()), { maxLength: 200 }),
        (accesses) => {
          const { uart } = bench()
          for (const [offset, value, write] of accesses) {
            if (write) uart.write(offset, 1, value)
            else expect(uart.read(offset)).toBeLessThan(256)
          }
          const twin = new Uart16550(new TestContext())
          twin.restore(uart.save())
          expect(twin.save()).toEqual(uart.save())
        },
      ),
    )
  })

  test('a state that does not fit is refused', () => {
    const { uart } = bench()
    const state = uart.save() as Record<string, unknown>
    for (const broken of [
      null,
      [],
      { ...state, version: 0 },
      { ...state, ier: 16 },
      { ...state, fcr: 2 },
      { ...state, divisor: 1.5 },
      { ...state, overrun: 1 },
      { ...state, fifo: new Uint8Array(17) },
      { ...state, gathered: new Uint8Array(4096) },
      { ...state, backlog: 'x' },
      Object.fromEntries(Object.entries(state).filter(([name]) => name !== 'lcr')),
    ])
      expect(() => uart.restore(broken as never)).toThrow(
        expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
      )
  })
})
