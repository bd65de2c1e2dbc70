/**
 * Steps that touch the machine beyond registers: the window, status, translations, services. What they cost is not
 * known exactly, since they may trap.
 */
import { CSR, PTE, STATUS, USER } from '../../../src/machine/cpu/isa-test/privileged.ts'
import type { Random } from '../../../src/machine/cpu/isa-test/random.ts'
import type { ItemGenerator } from '../item-generator.ts'
import type { Instruction } from '../program.ts'
import { ALIASES, CODE_PAGES, PAGE, PAGE_BYTES, REGISTER, SERVICE, WINDOW_PAGES } from './layout.ts'
import type { Access, Flavour, Place, Step } from './program.ts'
import { variantSwap } from './tables.ts'

const ACCESSES = ['lb', 'lhu', 'lw', 'ld', 'lwu', 'sb', 'sh', 'sw', 'sd', 'flw', 'fld', 'fsw', 'fsd'] as const
const ATOMIC_ACCESSES = ['amoadd.w', 'amoswap.d', 'amomaxu.w', 'lr.d', 'sc.d', 'lr.w', 'sc.w'] as const
const USER_ALIASES = ALIASES.flatMap(({ mode }, n) => (mode === USER ? [n] : []))
/** Bytes before and behind a place that accesses off its address may touch. */
const WINDOW_REACH = 64
/** Instructions that a step takes, a trap included where one is likely. */
export const MACHINE_STEP_COST = 40

export class MachineSteps {
  readonly #random: Random
  readonly #runs: ItemGenerator
  readonly #region: number
  readonly #alias: number
  readonly #flavour: Flavour

  /** `alias`: the one that main runs in. */
  constructor(random: Random, runs: ItemGenerator, region: number, alias: number, flavour: Flavour) {
    this.#random = random
    this.#runs = runs
    this.#region = region
    this.#alias = alias
    this.#flavour = flavour
  }

  window(): Step {
    const random = this.#random
    const page = PAGE.window + random.below(WINDOW_PAGES)
    // Before the stack's first page lies the window's last: only the ends in between are crossed.
    const crosses = page < PAGE.window + WINDOW_PAGES - 1 && random.chance(25)
    const within = crosses
      ? PAGE_BYTES - random.between(1, 7)
      : WINDOW_REACH + 8 * random.below((PAGE_BYTES - 2 * WINDOW_REACH) / 8)
    const asBefore = random.chance(10)
    const alias = asBefore
      ? random.pick(USER_ALIASES)
      : random.chance(20)
        ? random.below(ALIASES.length)
        : null
    const count = crosses || random.chance(40) ? 1 : random.between(2, 4)
    return {
      kind: 'window',
      place: { offset: page * PAGE_BYTES + within, alias },
      accesses: Array.from({ length: count }, (_, n) => this.#access(n > 0 || !crosses)),
      asBefore,
      between: count > 1 && random.chance(50) ? this.#conflicting(page) : null,
    }
  }

  /** In another alias a page with the same place in a TLB, or one before it that the load crosses. */
  #conflicting(page: number): Place {
    const crosses = this.#random.chance(50)
    return {
      alias: this.#random.below(ALIASES.length),
      offset: page * PAGE_BYTES - (crosses ? this.#random.between(1, 7) : -8 * this.#random.below(100)),
    }
  }

  #access(mayBeDistant: boolean): Access {
    const random = this.#random
    const atomic = this.#flavour === 'engines' && random.chance(15)
    const mnemonic = atomic ? random.pick(ATOMIC_ACCESSES) : random.pick(ACCESSES)
    const isLoad = mnemonic.startsWith('l')
    const register = mnemonic.startsWith('f')
      ? random.below(32)
      : isLoad || atomic
        ? this.#runs.destination()
        : this.#runs.source()
    const reach = WINDOW_REACH - 8
    return { mnemonic, register, distance: mayBeDistant && !atomic ? random.between(-reach, reach) : 0 }
  }

  /** Status bits and interrupts, as only privileged modes may change them; counters and the unit's state. */
  status(): Step {
    const random = this.#random
    const out: Instruction[] = []
    const SIE = 2
    switch (random.below(this.#flavour === 'engines' ? 6 : 4)) {
      case 0:
        out.push({ mnemonic: random.pick(['csrrsi', 'csrrci'] as const), operands: [0, CSR.sstatus, SIE] })
        break
      case 1:
        out.push({ mnemonic: 'csrrsi', operands: [0, CSR.sip, SIE] })
        break
      case 2:
        // The unit off: the kernel turns it on when it is used.
        out.push({ mnemonic: 'lui', operands: [REGISTER.word, 6] })
        out.push({ mnemonic: 'csrrc', operands: [0, CSR.sstatus, REGISTER.word] })
        break
      case 3:
        // Written and not read: what an illegal instruction leaves in it is not fixed by the manual.
        out.push({ mnemonic: 'csrrw', operands: [0, CSR.stval, this.#runs.source()] })
        out.push({ mnemonic: 'csrrs', operands: [this.#runs.destination(), CSR.sie, 0] })
        break
      default: {
        const rd = this.#runs.destination()
        out.push({
          mnemonic: 'csrrs',
          operands: [rd, random.pick([CSR.cycle, CSR.time, CSR.instret]), 0],
        })
        this.#runs.fold(out, rd)
      }
    }
    return { kind: 'run', instructions: out }
  }

  /** A fence of a page, an address space by number, rights: what the code that follows may lose its page by. */
  translation(): Step {
    const random = this.#random
    const { value, span, word } = REGISTER
    const out: Instruction[] = []
    switch (random.below(this.#flavour === 'engines' ? 8 : 6)) {
      case 0:
      case 1:
        out.push({ mnemonic: 'lui', operands: [value, random.below(CODE_PAGES + WINDOW_PAGES)] })
        out.push({ mnemonic: 'add', operands: [value, value, span] })
        out.push({ mnemonic: 'sfence.vma', operands: [value, 0] })
        break
      case 2:
      case 3:
      case 4: {
        // SUM or MXR the other way round, by the upper immediate of LUI.
        const bit = Number(random.pick([STATUS.sum, STATUS.sum, STATUS.sum, STATUS.mxr]) >> 12n)
        out.push({ mnemonic: 'csrrs', operands: [value, CSR.sstatus, 0] })
        out.push({ mnemonic: 'lui', operands: [word, bit] })
        out.push({ mnemonic: 'and', operands: [value, value, word] })
        out.push({ mnemonic: 'csrrs', operands: [0, CSR.sstatus, word] })
        out.push({ mnemonic: 'csrrc', operands: [0, CSR.sstatus, value] })
        break
      }
      case 5:
        return { kind: 'space', space: random.below(2) }
      default: {
        const { entry, difference, page } = variantSwap(random, this.#region, this.#alias)
        return { kind: 'swap', entry, difference, fencedPage: random.chance(60) ? page : null }
      }
    }
    return { kind: 'run', instructions: out }
  }

  service(): Step {
    const random = this.#random
    const services = [SERVICE.interrupt, SERVICE.setStatus, SERVICE.clearStatus, SERVICE.edit]
    if (this.#flavour === 'engines') {
      return random.chance(50)
        ? { kind: 'service', service: SERVICE.timer, value: null }
        : { kind: 'service', service: random.pick(services), value: this.#operand() }
    }
    return { kind: 'service', service: random.pick(services), value: this.#operand() }
  }

  #operand(): number {
    return Number(this.#random.pick([STATUS.sum, STATUS.mxr])) | this.#random.below(PTE.g)
  }
}
