/** Cache-block operations: what CBO.ZERO clears, who may do what, and which faults they give. */
import { CAUSE, CSR, ENVIRONMENT, type Privilege, PTE, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'
import { LAYOUT, NOWHERE } from './scenario-layout.ts'
import { ALL, page, READ_WRITE, RETURN, remap, turnOn, window } from './sv39-window.ts'

/** What the device tree says, for zeroing and for management. */
const BLOCK_BYTES = 64
const QEMU_LACKS = 'QEMU 7.2 has neither Zicbom nor Zicboz'

const MANAGEMENT = ['cbo.inval', 'cbo.clean', 'cbo.flush'] as const
const OPERATIONS = [...MANAGEMENT, 'cbo.zero'] as const
type Operation = (typeof OPERATIONS)[number]

/** The bit that allows an operation in a lower mode; of CBIE, one of its two values. */
const ENABLE: { readonly [operation in Operation]: bigint } = {
  'cbo.inval': 1n << 4n,
  'cbo.clean': ENVIRONMENT.cbcfe,
  'cbo.flush': ENVIRONMENT.cbcfe,
  'cbo.zero': ENVIRONMENT.cbze,
}
const EVERYTHING = ENVIRONMENT.cbie | ENVIRONMENT.cbcfe | ENVIRONMENT.cbze

/** Fills a block and the doubles on both sides of it. Uses x5 and x6. */
function fillAround(story: Story, block: number): void {
  const { asm } = story
  asm.li(5, block - 8)
  asm.li(6, -1)
  for (let offset = 0; offset < BLOCK_BYTES + 16; offset += 8) asm.emit('sd', 6, 5, offset)
}

/** Logs whether the block is clear and its neighbours are not. Uses x5 to x7. */
function logAround(story: Story, what: string, block: number): void {
  const { asm } = story
  asm.li(5, block - 8)
  asm.emit('ld', 6, 5, 0)
  story.log(`${what}: before the block`, 6, -1)
  asm.emit('ld', 6, 5, BLOCK_BYTES + 8)
  story.log(`${what}: behind the block`, 6, -1)
  asm.li(7, 0)
  for (let offset = 8; offset <= BLOCK_BYTES; offset += 8) {
    asm.emit('ld', 6, 5, offset)
    asm.emit('or', 7, 7, 6)
  }
  story.log(`${what}: the block`, 7, 0)
}

function allow(story: Story, machine: bigint, supervisor: bigint): void {
  story.setCsr(CSR.menvcfg, machine)
  story.setCsr(CSR.senvcfg, supervisor)
}

export const CACHE_BLOCK_SCENARIOS: readonly Scenario[] = [
  {
    name: 'CBO.ZERO clears the block that holds its address and nothing beside it',
    notInQemu: QEMU_LACKS,
    build(story) {
      const { asm } = story
      for (const [what, offset] of [
        ['at its start', 0],
        ['in its middle', 13],
        ['at its last byte', BLOCK_BYTES - 1],
      ] as const) {
        const block = page(1) + 2 * BLOCK_BYTES
        fillAround(story, block)
        asm.li(10, block + offset)
        asm.emit('cbo.zero', 10)
        logAround(story, what, block)
      }
      // The last block of a page.
      const last = page(2) - BLOCK_BYTES
      fillAround(story, last)
      asm.li(10, last + 1)
      asm.emit('cbo.zero', 10)
      logAround(story, 'the last of a page', last)
    },
  },
  {
    name: 'code that CBO.ZERO clears is gone at once, its own included',
    notInQemu: QEMU_LACKS,
    build(story) {
      const { asm } = story
      const base = page(0)
      const put = (words: readonly number[], at: number): void => {
        asm.li(5, at)
        words.forEach((word, n) => {
          asm.li(6, word)
          asm.emit('sw', 6, 5, 4 * n)
        })
      }
      const addi = (immediate: number): number => 0x00050513 | (immediate << 20)
      const call = (at: number): void => {
        asm.li(12, at)
        asm.emit('jalr', 1, 12, 0)
      }
      put([addi(1), RETURN], base)
      asm.li(10, 0)
      for (let n = 0; n < 5; n++) call(base)
      story.log('before', 10, 5)
      asm.li(5, base + 8)
      asm.emit('cbo.zero', 5)
      story.trap('the cleared code', () => call(base), { cause: CAUSE.illegal, pc: BigInt(base) })
      // ADDI, CBO.ZERO of its own block, and an ADDI that is not there any more.
      const own = base + 2 * BLOCK_BYTES
      put([addi(1), 0x0045a00f, addi(2), RETURN], own)
      asm.li(11, page(1))
      for (let n = 0; n < 5; n++) call(own)
      story.log('clearing elsewhere', 10, 5 + 5 * 3)
      asm.li(11, own)
      story.trap('the instruction behind it', () => call(own), {
        cause: CAUSE.illegal,
        pc: BigInt(own + 8),
      })
      story.log('up to there', 10, 5 + 5 * 3 + 1)
    },
  },
  {
    name: 'menvcfg and senvcfg decide who may use cache-block operations',
    notInQemu: QEMU_LACKS,
    build(story) {
      const { asm } = story
      const attempt = (operation: Operation, privilege: Privilege, allowed: boolean): void => {
        story.enter(privilege)
        asm.li(10, page(0))
        if (allowed) asm.emit(operation, 10)
        else
          story.trap(`${operation} from ${privilege}`, () => asm.emit(operation, 10), {
            cause: CAUSE.illegal,
            from: privilege,
          })
        story.toMachine()
      }
      for (const operation of OPERATIONS) {
        const enable = ENABLE[operation]
        const others = EVERYTHING & ~(operation === 'cbo.inval' ? ENVIRONMENT.cbie : enable)
        allow(story, 0n, EVERYTHING)
        asm.li(10, page(0))
        asm.emit(operation, 10)
        attempt(operation, SUPERVISOR, false)
        attempt(operation, USER, false)
        allow(story, others, others)
        attempt(operation, SUPERVISOR, false)
        allow(story, enable, others)
        attempt(operation, SUPERVISOR, true)
        attempt(operation, USER, false)
        allow(story, enable, enable)
        attempt(operation, USER, true)
      }
      allow(story, 0n, 0n)
    },
  },
  {
    name: 'the fields of menvcfg and senvcfg hold only legal values',
    notInQemu: QEMU_LACKS,
    build(story) {
      for (const csr of [CSR.menvcfg, CSR.senvcfg]) {
        story.setCsr(csr, EVERYTHING)
        story.logCsr('all that is allowed', csr, EVERYTHING, 0xffn)
        story.setCsr(csr, 1n << 4n)
        story.logCsr('invalidate as flush', csr, 1n << 4n, 0xffn)
        story.setCsr(csr, (2n << 4n) | ENVIRONMENT.cbze)
        story.logCsr('CBIE = 2 is reserved', csr, (1n << 4n) | ENVIRONMENT.cbze, 0xffn)
        story.setCsr(csr, 0)
        story.logCsr('nothing', csr, 0, 0xffn)
      }
    },
  },
  {
    name: 'faults of cache-block operations are those of stores, with the address as it was given',
    notInQemu: QEMU_LACKS,
    build(story) {
      const { asm } = story
      story.usualTables()
      allow(story, EVERYTHING, EVERYTHING)
      for (const operation of OPERATIONS) {
        asm.li(10, NOWHERE + 5)
        story.trap(`${operation} where nothing is`, () => asm.emit(operation, 10), {
          cause: CAUSE.storeAccess,
          value: NOWHERE + 5,
        })
      }
      turnOn(story)
      const readOnly = PTE.v | PTE.r | PTE.a
      const refusals = [
        { what: 'not valid', flags: 0, management: true, zero: true },
        { what: 'read only', flags: readOnly, management: false, zero: true },
        { what: 'not dirty', flags: READ_WRITE & ~PTE.d, management: false, zero: true },
        { what: 'not accessed', flags: READ_WRITE & ~PTE.a, management: true, zero: true },
        { what: 'a user page', flags: ALL | PTE.u, management: true, zero: true },
        { what: 'all allowed', flags: ALL, management: false, zero: false },
      ]
      for (const { what, flags, management, zero } of refusals) {
        remap(story, 0, page(0), flags)
        story.enter(SUPERVISOR)
        for (const operation of OPERATIONS) {
          asm.li(10, window(0, 77))
          if (operation === 'cbo.zero' ? zero : management)
            story.trap(`${operation}, ${what}`, () => asm.emit(operation, 10), {
              cause: CAUSE.storePage,
              from: SUPERVISOR,
              value: window(0, 77),
            })
          else asm.emit(operation, 10)
        }
        story.toMachine()
      }
      asm.li(5, page(0) + BLOCK_BYTES)
      asm.emit('ld', 5, 5, 0)
      story.log('through the window, at last', 5, 0)
      allow(story, 0n, 0n)
    },
  },
  {
    name: 'management and waiting change no memory',
    notInQemu: QEMU_LACKS,
    build(story) {
      const { asm } = story
      asm.li(10, LAYOUT.pages + 128)
      asm.li(6, 0x1234_5678)
      asm.emit('sd', 6, 10, 0)
      for (const operation of MANAGEMENT) asm.emit(operation, 10)
      asm.emit('ld', 5, 10, 0)
      story.log('after all management', 5, 0x1234_5678)
      asm.emit('lr.d', 5, 10, 0)
      asm.emit('wrs.nto')
      asm.emit('wrs.sto')
      asm.emit('pause')
      asm.emit('sc.d', 5, 6, 10, 0)
      story.log('the reservation outlives a wait', 5, 0)
    },
  },
]
