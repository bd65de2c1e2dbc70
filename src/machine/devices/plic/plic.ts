/**
 * The platform-level interrupt controller: RISC-V PLIC specification 1.0.0, with the register map and the sizes
 * that QEMU's `virt` machine gives it. Each hart has two contexts, M then S.
 *
 * Every source has a gateway that lets one request through at a time. A request that got through stays pending
 * even if the device lowers its line ("Interrupt Gateways"): the handler finds out that nothing is left to do. While a source is
 * claimed its gateway is shut; on completion the line is sampled again.
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { DeviceState, InterruptLine, MmioDevice } from '../device.ts'
import { HART_PHANDLE_BASE, PLIC_BASE, PLIC_PHANDLE } from '../memory-map.ts'
import { StateReader } from '../state.ts'

/** Sources 1 to 95, as `virt` has them; source 0 means "no interrupt". */
export const PLIC_SOURCES = 96
/** Priorities 0 (never interrupts) to 7. */
const PRIORITY_MASK = 7
const WORDS = PLIC_SOURCES / 32

const PENDING_BASE = 0x1000
const ENABLE_BASE = 0x2000
const ENABLE_STRIDE = 0x80
const CONTEXT_BASE = 0x20_0000
const CONTEXT_STRIDE = 0x1000
const PLIC_SIZE = 0x60_0000
/** The register window ends after this many contexts, two for each hart. */
export const PLIC_HARTS_MAX = (PLIC_SIZE - CONTEXT_BASE) / CONTEXT_STRIDE / 2

/** Interrupt numbers of the external interrupts at a hart (privileged specification, mcause). */
const SUPERVISOR_EXTERNAL = 9
const MACHINE_EXTERNAL = 11

const VERSION = 1

export type InterruptMode = 'M' | 'S'

/** The wires from the controller to the harts: drives MEIP or SEIP. Called only when a level changes. */
export type SetExternalInterrupt = (hart: number, mode: InterruptMode, level: boolean) => void

export class Plic implements MmioDevice {
  readonly name = 'plic'
  readonly base = PLIC_BASE
  readonly size = PLIC_SIZE
  readonly #harts: number
  readonly #contexts: number
  readonly #setExternalInterrupt: SetExternalInterrupt
  readonly #priority = new Uint8Array(PLIC_SOURCES)
  readonly #level = new Uint32Array(WORDS)
  readonly #pending = new Uint32Array(WORDS)
  readonly #claimed = new Uint32Array(WORDS)
  /** WORDS words for each context. */
  readonly #enable: Uint32Array
  readonly #threshold: Uint8Array
  readonly #driven: Uint8Array

  /** `harts` from 1 to PLIC_HARTS_MAX. */
  constructor(harts: number, setExternalInterrupt: SetExternalInterrupt) {
    if (!Number.isInteger(harts) || harts < 1 || harts > PLIC_HARTS_MAX)
      throw new RangeError(`a PLIC serves 1 to ${PLIC_HARTS_MAX} harts, not ${harts}`)
    this.#harts = harts
    this.#contexts = harts * 2
    this.#setExternalInterrupt = setExternalInterrupt
    this.#enable = new Uint32Array(this.#contexts * WORDS)
    this.#threshold = new Uint8Array(this.#contexts)
    this.#driven = new Uint8Array(this.#contexts)
  }

  /** The wire of one source, to hand to a device. `source` from 1 to PLIC_SOURCES - 1. */
  line(source: number): InterruptLine {
    if (!Number.isInteger(source) || source < 1 || source >= PLIC_SOURCES)
      throw new RangeError(`interrupt source ${source} is not 1 to ${PLIC_SOURCES - 1}`)
    return { set: (asserted) => this.#setLevel(source, asserted) }
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (width !== 4) return 0
    if (offset < PENDING_BASE) {
      const source = offset >>> 2
      return source < PLIC_SOURCES ? this.#priority[source] : 0
    }
    if (offset < ENABLE_BASE) {
      const word = (offset - PENDING_BASE) >>> 2
      return word < WORDS ? this.#pending[word] : 0
    }
    if (offset < CONTEXT_BASE) {
      const index = this.#enableIndex(offset)
      return index < 0 ? 0 : this.#enable[index]
    }
    const context = Math.floor((offset - CONTEXT_BASE) / CONTEXT_STRIDE)
    if (context >= this.#contexts) return 0
    const register = offset % CONTEXT_STRIDE
    if (register === 0) return this.#threshold[context]
    if (register === 4) return this.#claim(context)
    return 0
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width !== 4) return
    if (offset < PENDING_BASE) {
      const source = offset >>> 2
      if (source === 0 || source >= PLIC_SOURCES) return
      this.#priority[source] = value & PRIORITY_MASK
      this.#drive()
    } else if (offset < ENABLE_BASE) {
      // Pending bits are read-only: a request is cleared by claiming it ("Interrupt Pending Bits").
    } else if (offset < CONTEXT_BASE) {
      const index = this.#enableIndex(offset)
      if (index < 0) return
      // Source 0 does not exist: its bit is hardwired to zero ("Interrupt Enables").
      this.#enable[index] = index % WORDS === 0 ? value & ~1 : value
      this.#drive()
    } else {
      const context = Math.floor((offset - CONTEXT_BASE) / CONTEXT_STRIDE)
      if (context >= this.#contexts) return
      const register = offset % CONTEXT_STRIDE
      if (register === 0) {
        this.#threshold[context] = value & PRIORITY_MASK
        this.#drive()
      } else if (register === 4) this.#complete(context, value)
    }
  }

  fdtNode(): FdtNode {
    const wires: number[] = []
    for (let hart = 0; hart < this.#harts; hart++) {
      const phandle = HART_PHANDLE_BASE + hart
      wires.push(phandle, MACHINE_EXTERNAL, phandle, SUPERVISOR_EXTERNAL)
    }
    return {
      name: `plic@${PLIC_BASE.toString(16)}`,
      properties: {
        compatible: ['sifive,plic-1.0.0', 'riscv,plic0'],
        reg: [BigInt(PLIC_BASE), BigInt(PLIC_SIZE)],
        'interrupts-extended': wires,
        'interrupt-controller': true,
        '#interrupt-cells': 1,
        '#address-cells': 0,
        'riscv,ndev': PLIC_SOURCES - 1,
        phandle: PLIC_PHANDLE,
      },
    }
  }

  save(): DeviceState {
    return {
      version: VERSION,
      priority: this.#priority.slice(),
      level: [...this.#level],
      pending: [...this.#pending],
      claimed: [...this.#claimed],
      enable: [...this.#enable],
      threshold: this.#threshold.slice(),
    }
  }

  /** Drives every hart's wires anew, whatever they carried before. */
  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    const priority = reader.bytes('priority', PLIC_SOURCES, PLIC_SOURCES)
    const level = reader.words('level', WORDS)
    const pending = reader.words('pending', WORDS)
    const claimed = reader.words('claimed', WORDS)
    const enable = reader.words('enable', this.#enable.length)
    const threshold = reader.bytes('threshold', this.#contexts, this.#contexts)
    if (priority[0] !== 0 || priority.some((value) => value > PRIORITY_MASK))
      reader.fail('a priority is out of range')
    if (threshold.some((value) => value > PRIORITY_MASK)) reader.fail('a threshold is out of range')
    if (((level[0] | pending[0] | claimed[0]) & 1) !== 0) reader.fail('source 0 is in use')
    if (enable.some((word, index) => index % WORDS === 0 && (word & 1) !== 0))
      reader.fail('source 0 is enabled')
    if (pending.some((word, index) => (word & claimed[index]) !== 0))
      reader.fail('a source is both pending and claimed')
    if (level.some((word, index) => (word & ~pending[index] & ~claimed[index]) !== 0))
      reader.fail('a raised line is neither pending nor claimed')
    this.#priority.set(priority)
    this.#level.set(level)
    this.#pending.set(pending)
    this.#claimed.set(claimed)
    this.#enable.set(enable)
    this.#threshold.set(threshold)
    for (let context = 0; context < this.#contexts; context++) {
      // The opposite of what is due makes #drive set every wire.
      this.#driven[context] = this.#best(context, this.#threshold[context]) === 0 ? 1 : 0
    }
    this.#drive()
  }

  #enableIndex(offset: number): number {
    const context = Math.floor((offset - ENABLE_BASE) / ENABLE_STRIDE)
    const word = ((offset - ENABLE_BASE) % ENABLE_STRIDE) >>> 2
    return context < this.#contexts && word < WORDS ? context * WORDS + word : -1
  }

  #setLevel(source: number, asserted: boolean): void {
    const word = source >>> 5
    const bit = 1 << (source & 31)
    if (((this.#level[word] & bit) !== 0) === asserted) return
    if (!asserted) {
      this.#level[word] &= ~bit
      return
    }
    this.#level[word] |= bit
    if ((this.#claimed[word] & bit) === 0) {
      this.#pending[word] |= bit
      this.#drive()
    }
  }

  /** The pending, enabled source of the highest priority above `floor`, the lowest number first; 0 when none. */
  #best(context: number, floor: number): number {
    let best = 0
    let bestPriority = floor
    for (let word = 0; word < WORDS; word++) {
      let candidates = this.#pending[word] & this.#enable[context * WORDS + word]
      while (candidates !== 0) {
        const source = (word << 5) + 31 - Math.clz32(candidates & -candidates)
        candidates &= candidates - 1
        if (this.#priority[source] > bestPriority) {
          best = source
          bestPriority = this.#priority[source]
        }
      }
    }
    return best
  }

  /** "Interrupt Claim Process": claiming is not subject to the threshold. */
  #claim(context: number): number {
    const source = this.#best(context, 0)
    if (source === 0) return 0
    const word = source >>> 5
    const bit = 1 << (source & 31)
    this.#pending[word] &= ~bit
    this.#claimed[word] |= bit
    this.#drive()
    return source
  }

  /** "Interrupt Completion": a completion of a source that the context has not enabled is ignored. */
  #complete(context: number, source: number): void {
    if (source === 0 || source >= PLIC_SOURCES) return
    const word = source >>> 5
    const bit = 1 << (source & 31)
    if ((this.#enable[context * WORDS + word] & bit) === 0 || (this.#claimed[word] & bit) === 0) return
    this.#claimed[word] &= ~bit
    if ((this.#level[word] & bit) !== 0) this.#pending[word] |= bit
    this.#drive()
  }

  #drive(): void {
    for (let context = 0; context < this.#contexts; context++) {
      const due = this.#best(context, this.#threshold[context]) === 0 ? 0 : 1
      if (due === this.#driven[context]) continue
      this.#driven[context] = due
      this.#setExternalInterrupt(context >>> 1, (context & 1) === 0 ? 'M' : 'S', due === 1)
    }
  }
}
