/** Interrupts: enables, priorities, delegation, the CLINT, and WFI. They are pended by writes to mip and to the CLINT, so each comes at an exact instruction. */
import { CAUSE, CSR, INTERRUPT, MACHINE, STATUS, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario, Story } from './scenario.ts'

const CLINT_MSIP = 0x0200_0000
const CLINT_MTIMECMP = 0x0200_4000
const CLINT_MTIME = 0x0200_bff8
const bit = (interrupt: number) => 1 << interrupt
const SSIP = bit(INTERRUPT.supervisorSoftware)
const STIP = bit(INTERRUPT.supervisorTimer)
const MSIP = bit(INTERRUPT.machineSoftware)
const MTIP = bit(INTERRUPT.machineTimer)

/** Pends or clears the machine software interrupt, and lets the store's effect arrive. */
function setMsip(story: Story, value: 0 | 1): void {
  const { asm } = story
  asm.li(5, CLINT_MSIP)
  asm.li(6, value)
  asm.emit('sw', 6, 5, 0)
  asm.emit('lw', 6, 5, 0)
  story.log(`msip reads ${value}`, 6, value)
}

function setTimer(story: Story, value: bigint): void {
  const { asm } = story
  asm.li(5, CLINT_MTIMECMP)
  asm.li(6, value)
  asm.emit('sd', 6, 5, 0)
}

const NEVER = -1n
/** menvcfg.STCE. */
const STCE = 1n << 63n

export const INTERRUPT_SCENARIOS: readonly Scenario[] = [
  {
    name: 'a pending interrupt is taken at the instruction after the one that enables it',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mip, SSIP)
      story.setCsr(CSR.mie, SSIP)
      asm.emit('csrrsi', 0, CSR.mstatus, Number(STATUS.mie))
      const first = asm.here()
      story.expectInterrupt('enabled by mstatus', INTERRUPT.supervisorSoftware, MACHINE, first)
      asm.emit('addi', 0, 0, 0)
      story.setBits(CSR.mie, SSIP)
      const second = asm.here()
      story.expectInterrupt('enabled by mie', INTERRUPT.supervisorSoftware, MACHINE, second)
      story.setCsr(CSR.mip, 0)
      story.setBits(CSR.mie, SSIP | STIP)
      story.setCsr(CSR.mip, STIP)
      const third = asm.here()
      story.expectInterrupt('pended by mip', INTERRUPT.supervisorTimer, MACHINE, third)
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
    },
  },
  {
    name: 'MRET enables an interrupt for the instruction it returns to',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mip, SSIP)
      story.setCsr(CSR.mie, SSIP)
      const target = asm.label()
      asm.loadAddress(5, target)
      asm.emit('csrrw', 0, CSR.mepc, 5)
      story.setBits(CSR.mstatus, STATUS.mpp | STATUS.mpie)
      asm.emit('mret')
      asm.bind(target)
      story.expectInterrupt('after MRET', INTERRUPT.supervisorSoftware, MACHINE, target)
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
      story.logCsr('the handler masked it', CSR.mie, 0)
    },
  },
  {
    name: 'priorities among pending interrupts',
    notInQemu: 'QEMU 7.2 without AIA takes the lowest number first',
    build(story) {
      const { asm } = story
      setTimer(story, 0n)
      setMsip(story, 1)
      story.setCsr(CSR.mip, SSIP | STIP)
      story.logCsr('all are pending', CSR.mip, SSIP | STIP | MSIP | MTIP)
      story.setCsr(CSR.mie, SSIP | STIP | MSIP | MTIP)
      asm.emit('csrrsi', 0, CSR.mstatus, Number(STATUS.mie))
      const here = asm.here()
      // The handler masks one and returns: the next in order comes at the same place.
      for (const interrupt of [
        INTERRUPT.machineSoftware,
        INTERRUPT.machineTimer,
        INTERRUPT.supervisorSoftware,
        INTERRUPT.supervisorTimer,
      ]) {
        story.expectInterrupt(`interrupt ${interrupt}`, interrupt, MACHINE, here)
      }
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
      setMsip(story, 0)
      setTimer(story, NEVER)
      story.logCsr('none is pending', CSR.mip, SSIP | STIP, BigInt(SSIP | STIP | MSIP | MTIP))
    },
  },
  {
    name: 'interrupts for M-mode are taken in S and U whatever MIE says',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mip, SSIP)
      for (const privilege of [SUPERVISOR, USER] as const) {
        story.setCsr(CSR.mie, SSIP)
        story.clearBits(CSR.mstatus, STATUS.mie)
        story.enter(privilege)
        const here = asm.here()
        story.expectInterrupt(`from ${privilege}`, INTERRUPT.supervisorSoftware, privilege, here, {
          enabled: false,
        })
        asm.emit('addi', 0, 0, 0)
        story.toMachine()
      }
    },
  },
  {
    name: 'delegated interrupts: never in M, in S when SIE is set, in U always',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mideleg, SSIP | STIP)
      story.setCsr(CSR.mip, SSIP)
      story.setCsr(CSR.mie, SSIP)
      asm.emit('csrrsi', 0, CSR.mstatus, Number(STATUS.mie))
      asm.emit('addi', 0, 0, 0)
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
      story.logCsr('still enabled after M ran on', CSR.mie, SSIP)
      story.enter(SUPERVISOR)
      asm.emit('addi', 0, 0, 0)
      story.setBits(CSR.sstatus, STATUS.sie)
      const enabled = asm.here()
      story.expectInterrupt('in S with SIE', INTERRUPT.supervisorSoftware, SUPERVISOR, enabled, {
        delegated: true,
      })
      story.clearBits(CSR.sstatus, STATUS.sie)
      story.setBits(CSR.sie, SSIP)
      asm.emit('addi', 0, 0, 0)
      story.toMachine()
      story.enter(USER)
      const user = asm.here()
      story.expectInterrupt('in U without SIE', INTERRUPT.supervisorSoftware, USER, user, {
        delegated: true,
        enabled: false,
      })
      asm.emit('addi', 0, 0, 0)
      story.toMachine()
    },
  },
  {
    name: 'an interrupt for M goes before a delegated one, whatever their numbers',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mideleg, SSIP)
      story.setCsr(CSR.mip, SSIP | STIP)
      story.setCsr(CSR.mie, SSIP | STIP)
      story.enter(USER)
      const here = asm.here()
      story.expectInterrupt('the timer, for M', INTERRUPT.supervisorTimer, USER, here, { enabled: false })
      story.expectInterrupt('the software interrupt, for S', INTERRUPT.supervisorSoftware, USER, here, {
        delegated: true,
        enabled: false,
      })
      asm.emit('addi', 0, 0, 0)
      story.toMachine()
    },
  },
  {
    name: 'SSIP set and cleared by S-mode through sip',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mideleg, SSIP)
      story.setCsr(CSR.mie, SSIP)
      story.enter(SUPERVISOR)
      asm.emit('csrrsi', 0, CSR.sip, SSIP)
      story.setBits(CSR.sstatus, STATUS.sie)
      const here = asm.here()
      story.expectInterrupt('pended by sip', INTERRUPT.supervisorSoftware, SUPERVISOR, here, {
        delegated: true,
      })
      asm.emit('csrrci', 0, CSR.sip, SSIP)
      story.setBits(CSR.sie, SSIP)
      asm.emit('addi', 0, 0, 0)
      story.clearBits(CSR.sstatus, STATUS.sie)
      story.logCsr('sip is clear', CSR.sip, 0)
      story.toMachine()
    },
  },
  {
    name: 'the machine timer compares mtime with mtimecmp',
    build(story) {
      const { asm } = story
      setTimer(story, NEVER)
      story.logCsr('not due', CSR.mip, 0, BigInt(MTIP))
      setTimer(story, 0n)
      asm.emit('jal', 0, 4)
      story.logCsr('due', CSR.mip, MTIP, BigInt(MTIP))
      story.setCsr(CSR.mie, MTIP)
      asm.emit('csrrsi', 0, CSR.mstatus, Number(STATUS.mie))
      const here = asm.here()
      story.expectInterrupt('timer', INTERRUPT.machineTimer, MACHINE, here)
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
      setTimer(story, NEVER)
      // mtime as the CLINT and as the CSR shows it.
      asm.li(5, CLINT_MTIME)
      asm.emit('ld', 6, 5, 0)
      asm.emit('csrrs', 7, CSR.time, 0)
      asm.emit('sltu', 8, 7, 6)
      story.log('time does not lie behind mtime', 8, 0)
    },
  },
  {
    name: 'stimecmp is the supervisor’s timer where menvcfg and mcounteren allow it (Sstc)',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.menvcfg, 0)
      story.setCsr(CSR.mcounteren, 2)
      story.enter(SUPERVISOR)
      const refused = { cause: CAUSE.illegal, from: SUPERVISOR } as const
      story.trap('without STCE', () => asm.emit('csrrs', 5, CSR.stimecmp, 0), refused)
      story.toMachine()
      story.setCsr(CSR.mcounteren, 0)
      story.setCsr(CSR.menvcfg, STCE)
      story.setCsr(CSR.stimecmp, NEVER)
      story.enter(SUPERVISOR)
      story.trap('without TM', () => asm.emit('csrrs', 5, CSR.stimecmp, 0), refused)
      story.toMachine()
      story.setCsr(CSR.mcounteren, 2)
      story.setCsr(CSR.mideleg, STIP)
      story.setCsr(CSR.mie, STIP)
      story.enter(SUPERVISOR)
      story.logCsr('reads back', CSR.stimecmp, NEVER)
      story.logCsr('not due', CSR.sip, 0, BigInt(STIP))
      story.setCsr(CSR.stimecmp, 0)
      asm.emit('jal', 0, 4)
      story.logCsr('due', CSR.sip, STIP, BigInt(STIP))
      story.setBits(CSR.sstatus, STATUS.sie)
      const here = asm.here()
      story.expectInterrupt('taken', INTERRUPT.supervisorTimer, SUPERVISOR, here, { delegated: true })
      story.clearBits(CSR.sstatus, STATUS.sie)
      // Later than now: the interrupt comes while the hart waits.
      asm.emit('csrrs', 6, CSR.time, 0)
      asm.emit('addi', 6, 6, 1000)
      asm.emit('csrrw', 0, CSR.stimecmp, 6)
      story.setBits(CSR.sie, STIP)
      asm.emit('wfi')
      asm.emit('csrrs', 7, CSR.time, 0)
      asm.emit('sltu', 8, 7, 6)
      story.log('not before it was due', 8, 0)
      story.setCsr(CSR.stimecmp, NEVER)
      story.toMachine()
      story.setCsr(CSR.mip, STIP)
      asm.emit('jal', 0, 4)
      story.logCsr('STIP cannot be written under STCE', CSR.mip, 0, BigInt(STIP))
      story.setCsr(CSR.menvcfg, 0)
      story.setCsr(CSR.mcounteren, 0)
    },
  },
  {
    name: 'WFI goes on when an enabled interrupt is pending, even if it may not be taken',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mip, SSIP)
      story.setCsr(CSR.mie, SSIP)
      asm.li(10, 0)
      asm.emit('wfi')
      asm.emit('addi', 10, 10, 1)
      story.log('went on', 10, 1)
      story.setCsr(CSR.mip, 0)
      story.setCsr(CSR.mie, MTIP)
      // A thousand ticks of 100 ns from now.
      asm.emit('csrrs', 6, CSR.time, 0)
      asm.emit('addi', 6, 6, 1000)
      asm.li(5, CLINT_MTIMECMP)
      asm.emit('sd', 6, 5, 0)
      asm.emit('wfi')
      asm.emit('csrrs', 7, CSR.time, 0)
      asm.emit('sltu', 8, 7, 6)
      story.log('not before the timer was due', 8, 0)
      setTimer(story, NEVER)
    },
  },
  {
    name: 'a timer interrupt ends a wait and returns behind the WFI',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mie, MTIP)
      asm.emit('csrrs', 6, CSR.time, 0)
      asm.emit('addi', 6, 6, 2000)
      asm.li(5, CLINT_MTIMECMP)
      asm.emit('sd', 6, 5, 0)
      asm.emit('csrrsi', 0, CSR.mstatus, Number(STATUS.mie))
      asm.emit('wfi')
      const behind = asm.here()
      story.expectInterrupt('timer', INTERRUPT.machineTimer, MACHINE, behind)
      asm.emit('csrrci', 0, CSR.mstatus, Number(STATUS.mie))
      setTimer(story, NEVER)
    },
  },
  {
    name: 'SEIP can be set and cleared by M-mode',
    build(story) {
      const { asm } = story
      const seip = bit(INTERRUPT.supervisorExternal)
      story.setBits(CSR.mip, seip)
      story.logCsr('pending', CSR.mip, seip, BigInt(seip))
      story.setCsr(CSR.mideleg, seip)
      story.setCsr(CSR.mie, seip)
      story.logCsr('seen by S', CSR.sip, seip)
      story.enter(USER)
      const here = asm.here()
      story.expectInterrupt('taken', INTERRUPT.supervisorExternal, USER, here, {
        delegated: true,
        enabled: false,
      })
      asm.emit('addi', 0, 0, 0)
      story.toMachine()
      story.clearBits(CSR.mip, seip)
      story.logCsr('cleared', CSR.mip, 0, BigInt(seip))
    },
  },
]
