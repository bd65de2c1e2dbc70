/**
 * The serial port: an NS16550A (TI TL16C550 data sheet) as on `virt`, registers one byte apart.
 *
 * It has no line speed: a byte written is sent at once, so the transmitter is always empty; a byte waiting to be
 * received is in the FIFO as soon as there is room. What does not fit the FIFO waits in a bounded backlog, as if the
 * sender heeded flow control, and the guest loses nothing of a long paste. Sent bytes are gathered and leave as one
 * output per slice.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import { ByteQueue } from '../byte-queue.ts'
import type { DeviceContext, DeviceState, MmioDevice } from '../device.ts'
import { PLIC_PHANDLE, UART_BASE, UART_INTERRUPT } from '../memory-map.ts'
import { StateReader } from '../state.ts'

const FIFO_BYTES = 16
/** A long paste. More is refused: the sender learns how much was taken. */
export const UART_BACKLOG_BYTES_MAX = 64 * 1024
/** Gathered output leaves at this size even before the slice ends, so that a guest cannot make it grow. */
const GATHER_BYTES_MAX = 4096
/** Input clock of the baud rate generator. Only named in the device tree: nothing here takes time. */
const CLOCK_HZ = 3_686_400
/** What firmware before us would have left: 19200 baud by the clock above, as on QEMU. */
const RESET_DIVISOR = 12

// Register offsets; the first two change meaning with LCR.DLAB.
const RBR_THR_DLL = 0
const IER_DLM = 1
const IIR_FCR = 2
const LCR = 3
const MCR = 4
const LSR = 5
const MSR = 6
const SCR = 7

const IER_RECEIVED = 0x01
const IER_TRANSMIT_EMPTY = 0x02
const IER_LINE_STATUS = 0x04
const IER_MASK = 0x0f

const IIR_NONE = 0x01
const IIR_TRANSMIT_EMPTY = 0x02
const IIR_RECEIVED = 0x04
const IIR_LINE_STATUS = 0x06
const IIR_TIMEOUT = 0x0c
const IIR_FIFO_ENABLED = 0xc0

const FCR_ENABLE = 0x01
const FCR_CLEAR_RECEIVE = 0x02
const FCR_CLEAR_TRANSMIT = 0x04
const FCR_TRIGGER_SHIFT = 6
const FCR_STORED = 0xc9
const TRIGGER_BYTES = [1, 4, 8, 14] as const

const LCR_DLAB = 0x80
const MCR_LOOPBACK = 0x10
const MCR_MASK = 0x1f

const LSR_DATA_READY = 0x01
const LSR_OVERRUN = 0x02
const LSR_TRANSMIT_EMPTY = 0x60

/** Carrier, data set ready and clear to send: somebody is at the other end. */
const MSR_CONNECTED = 0xb0

const VERSION = 1

export class Uart16550 implements MmioDevice {
  readonly name = 'uart'
  readonly base = UART_BASE
  readonly size = 0x100
  readonly #context: Pick<DeviceContext, 'interrupt' | 'output'>
  readonly #fifo = new ByteQueue(FIFO_BYTES)
  readonly #backlog = new ByteQueue(UART_BACKLOG_BYTES_MAX)
  readonly #gathered = new Uint8Array(GATHER_BYTES_MAX)
  #gatheredBytes = 0
  #ier = 0
  #fcr = 0
  #lcr = 0
  #mcr = 0
  #scratch = 0
  #divisor = RESET_DIVISOR
  #overrun = false
  /** The transmitter-empty interrupt is an edge: set by emptying or enabling, taken back by reading IIR. */
  #transmitEmptyPending = false

  constructor(context: Pick<DeviceContext, 'interrupt' | 'output'>) {
    this.#context = context
  }

  /** How many bytes `receive` would take now. */
  get receiveFree(): number {
    return this.#backlog.free
  }

  /** Input: bytes typed at the console. Says how many were taken; the rest is dropped. */
  receive(data: Uint8Array): number {
    const accepted = this.#backlog.push(data)
    this.#refill()
    this.#drive()
    return accepted
  }

  /** Emits what was sent since the last flush. The machine calls it when a slice ends. */
  flush(): void {
    if (this.#gatheredBytes === 0) return
    this.#context.output({
      kind: 'console-tx',
      port: 'uart',
      data: this.#gathered.slice(0, this.#gatheredBytes),
    })
    this.#gatheredBytes = 0
  }

  /** The registers are bytes; a wider access reaches the byte at its address only. */
  read(offset: number): number {
    switch (offset) {
      case RBR_THR_DLL:
        return this.#dlab ? this.#divisor & 0xff : this.#readReceiver()
      case IER_DLM:
        return this.#dlab ? this.#divisor >>> 8 : this.#ier
      case IIR_FCR: {
        const cause = this.#cause()
        if (cause === IIR_TRANSMIT_EMPTY) {
          this.#transmitEmptyPending = false
          this.#drive()
        }
        return (this.#fcr & FCR_ENABLE) === 0 ? cause : cause | IIR_FIFO_ENABLED
      }
      case LCR:
        return this.#lcr
      case MCR:
        return this.#mcr
      case LSR: {
        const status =
          LSR_TRANSMIT_EMPTY |
          (this.#fifo.length > 0 ? LSR_DATA_READY : 0) |
          (this.#overrun ? LSR_OVERRUN : 0)
        this.#overrun = false
        this.#drive()
        return status
      }
      case MSR:
        return this.#modemStatus()
      case SCR:
        return this.#scratch
      default:
        return 0
    }
  }

  write(offset: number, _width: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff
    switch (offset) {
      case RBR_THR_DLL:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff00) | byte
        else this.#transmit(byte)
        break
      case IER_DLM:
        if (this.#dlab) this.#divisor = (this.#divisor & 0x00ff) | (byte << 8)
        else this.#writeInterruptEnable(byte & IER_MASK)
        break
      case IIR_FCR:
        this.#writeFifoControl(byte)
        break
      case LCR:
        this.#lcr = byte
        break
      case MCR:
        this.#mcr = byte & MCR_MASK
        this.#refill()
        break
      case SCR:
        this.#scratch = byte
        break
    }
    this.#drive()
  }

  fdtNode(): FdtNode {
    return {
      name: `serial@${UART_BASE.toString(16)}`,
      properties: {
        compatible: 'ns16550a',
        reg: [BigInt(UART_BASE), BigInt(this.size)],
        interrupts: UART_INTERRUPT,
        'interrupt-parent': PLIC_PHANDLE,
        'clock-frequency': CLOCK_HZ,
      },
    }
  }

  save(): DeviceState {
    return {
      version: VERSION,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scratch: this.#scratch,
      divisor: this.#divisor,
      overrun: this.#overrun,
      transmitEmptyPending: this.#transmitEmptyPending,
      fifo: this.#fifo.peek(FIFO_BYTES),
      backlog: this.#backlog.peek(UART_BACKLOG_BYTES_MAX),
      gathered: this.#gathered.slice(0, this.#gatheredBytes),
    }
  }

  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const ier = reader.integer('ier', 0, IER_MASK)
    const fcr = reader.u8('fcr')
    const lcr = reader.u8('lcr')
    const mcr = reader.integer('mcr', 0, MCR_MASK)
    const scratch = reader.u8('scratch')
    const divisor = reader.u16('divisor')
    const overrun = reader.boolean('overrun')
    const transmitEmptyPending = reader.boolean('transmitEmptyPending')
    const fifo = reader.bytes('fifo', 0, FIFO_BYTES)
    const backlog = reader.bytes('backlog', 0, UART_BACKLOG_BYTES_MAX)
    const gathered = reader.bytes('gathered', 0, GATHER_BYTES_MAX - 1)
    if ((fcr & ~FCR_STORED) !== 0) reader.fail('fcr has bits that do not stay set')
    this.#ier = ier
    this.#fcr = fcr
    this.#lcr = lcr
    this.#mcr = mcr
    this.#scratch = scratch
    this.#divisor = divisor
    this.#overrun = overrun
    this.#transmitEmptyPending = transmitEmptyPending
    this.#fifo.clear()
    this.#fifo.push(fifo)
    this.#backlog.clear()
    this.#backlog.push(backlog)
    this.#gathered.set(gathered)
    this.#gatheredBytes = gathered.length
  }

  get #dlab(): boolean {
    return (this.#lcr & LCR_DLAB) !== 0
  }

  get #loopback(): boolean {
    return (this.#mcr & MCR_LOOPBACK) !== 0
  }

  get #fifoCapacity(): number {
    return (this.#fcr & FCR_ENABLE) === 0 ? 1 : FIFO_BYTES
  }

  #readReceiver(): number {
    const byte = Math.max(this.#fifo.shift(), 0)
    this.#refill()
    this.#drive()
    return byte
  }

  /** In loopback the receiver is cut off from the line, so the backlog waits. */
  #refill(): void {
    if (this.#loopback) return
    const room = this.#fifoCapacity - this.#fifo.length
    if (room > 0 && this.#backlog.length > 0) this.#fifo.push(this.#backlog.take(room))
  }

  #transmit(byte: number): void {
    if (this.#loopback) {
      if (this.#fifo.length === this.#fifoCapacity) {
        this.#overrun = true
        // Without a FIFO the new byte takes the place of the unread one; a full FIFO loses the new byte.
        if (this.#fifoCapacity === 1) this.#fifo.clear()
      }
      this.#fifo.push(Uint8Array.of(byte))
    } else {
      this.#gathered[this.#gatheredBytes++] = byte
      if (this.#gatheredBytes === GATHER_BYTES_MAX) this.flush()
    }
    // The byte is gone at once, so the transmitter becomes empty again.
    this.#transmitEmptyPending = true
  }

  #writeInterruptEnable(ier: number): void {
    const enabling = (ier & ~this.#ier & IER_TRANSMIT_EMPTY) !== 0
    this.#ier = ier
    if (enabling) this.#transmitEmptyPending = true
  }

  #writeFifoControl(fcr: number): void {
    const switched = ((fcr ^ this.#fcr) & FCR_ENABLE) !== 0
    this.#fcr = (fcr & FCR_ENABLE) === 0 ? 0 : fcr & FCR_STORED
    if (switched || (fcr & FCR_CLEAR_RECEIVE) !== 0) this.#fifo.clear()
    // Clearing an empty transmitter empties it once more, which is an edge of its own.
    if (switched || (fcr & FCR_CLEAR_TRANSMIT) !== 0) this.#transmitEmptyPending = true
    this.#refill()
  }

  /** The interrupt of the highest priority, as IIR names it. */
  #cause(): number {
    if ((this.#ier & IER_LINE_STATUS) !== 0 && this.#overrun) return IIR_LINE_STATUS
    if ((this.#ier & IER_RECEIVED) !== 0 && this.#fifo.length > 0) {
      const trigger = (this.#fcr & FCR_ENABLE) === 0 ? 1 : TRIGGER_BYTES[this.#fcr >>> FCR_TRIGGER_SHIFT]
      // No more bytes are on the line, so the time-out of a FIFO below its trigger is over at once.
      return this.#fifo.length >= trigger ? IIR_RECEIVED : IIR_TIMEOUT
    }
    if ((this.#ier & IER_TRANSMIT_EMPTY) !== 0 && this.#transmitEmptyPending) return IIR_TRANSMIT_EMPTY
    return IIR_NONE
  }

  /**
   * In loopback the modem's inputs are wired to the outputs of MCR: RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to
   * DCD.
   */
  #modemStatus(): number {
    if (!this.#loopback) return MSR_CONNECTED
    const mcr = this.#mcr
    return ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5) | ((mcr & 0x0c) << 4)
  }

  #drive(): void {
    this.#context.interrupt.set(this.#cause() !== IIR_NONE)
  }
}
