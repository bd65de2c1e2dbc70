/** Privilege: who may do what, the status registers, delegation and the returns from traps. */
import { CAUSE, CSR, STATUS, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario } from './scenario.ts'

const MACHINE_CSRS = [
  CSR.mstatus,
  CSR.misa,
  CSR.mie,
  CSR.mtvec,
  CSR.mscratch,
  CSR.mepc,
  CSR.mhartid,
  CSR.mcycle,
] as const
const SUPERVISOR_CSRS = [
  CSR.sstatus,
  CSR.sie,
  CSR.stvec,
  CSR.sscratch,
  CSR.sepc,
  CSR.scause,
  CSR.stval,
  CSR.satp,
] as const

/** Exceptions that every implementation of S-mode can delegate. */
const DELEGATED =
  (1 << CAUSE.userCall) | (1 << CAUSE.breakpoint) | (1 << CAUSE.illegal) | (1 << CAUSE.loadPage)

export const PRIVILEGE_SCENARIOS: readonly Scenario[] = [
  {
    name: 'less privileged modes cannot touch the CSRs and instructions of more privileged ones',
    build(story) {
      const { asm } = story
      story.enter(SUPERVISOR)
      for (const csr of MACHINE_CSRS) {
        story.trap(`S reads ${csr.toString(16)}`, () => asm.emit('csrrs', 5, csr, 0), {
          cause: CAUSE.illegal,
          from: SUPERVISOR,
        })
      }
      story.trap('S returns by MRET', () => asm.emit('mret'), { cause: CAUSE.illegal, from: SUPERVISOR })
      asm.emit('csrrs', 5, CSR.sscratch, 0)
      story.toMachine()
      story.enter(USER)
      for (const csr of [...SUPERVISOR_CSRS, ...MACHINE_CSRS]) {
        story.trap(`U reads ${csr.toString(16)}`, () => asm.emit('csrrs', 5, csr, 0), {
          cause: CAUSE.illegal,
          from: USER,
        })
      }
      story.trap('U writes sscratch', () => asm.emit('csrrw', 0, CSR.sscratch, 5), {
        cause: CAUSE.illegal,
        from: USER,
      })
      story.trap('U returns by SRET', () => asm.emit('sret'), { cause: CAUSE.illegal, from: USER })
      story.trap('U returns by MRET', () => asm.emit('mret'), { cause: CAUSE.illegal, from: USER })
      story.trap('U fences translation', () => asm.emit('sfence.vma', 0, 0), {
        cause: CAUSE.illegal,
        from: USER,
      })
      story.toMachine()
    },
  },
  {
    name: 'TVM, TSR and TW trap what a supervisor under a hypervisor may not do',
    build(story) {
      const { asm } = story
      // A pending and enabled interrupt that S-mode masks, so that WFI completes where it is allowed.
      story.setCsr(CSR.mideleg, 1 << 1)
      story.setCsr(CSR.mie, 1 << 1)
      story.setCsr(CSR.mip, 1 << 1)
      story.enter(SUPERVISOR)
      asm.emit('csrrs', 5, CSR.satp, 0)
      asm.emit('sfence.vma', 0, 0)
      asm.emit('wfi')
      story.toMachine()
      story.setBits(CSR.mstatus, STATUS.tvm | STATUS.tsr | STATUS.tw)
      story.enter(SUPERVISOR)
      story.trap('satp under TVM', () => asm.emit('csrrs', 5, CSR.satp, 0), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      story.trap('SFENCE.VMA under TVM', () => asm.emit('sfence.vma', 5, 0), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      story.trap('SRET under TSR', () => asm.emit('sret'), { cause: CAUSE.illegal, from: SUPERVISOR })
      story.trap('WFI under TW', () => asm.emit('wfi'), { cause: CAUSE.illegal, from: SUPERVISOR })
      story.toMachine()
      asm.emit('sfence.vma', 0, 0)
      asm.emit('wfi')
      asm.emit('csrrs', 5, CSR.satp, 0)
      story.log('M-mode is not concerned', 5, 0)
    },
  },
  {
    name: 'MRET restores the mode and the interrupt enable',
    build(story) {
      const { asm } = story
      const after = asm.label()
      asm.loadAddress(5, after)
      asm.emit('csrrw', 0, CSR.mepc, 5)
      story.setBits(CSR.mstatus, STATUS.mpp | STATUS.mpie | STATUS.mprv)
      asm.emit('mret')
      asm.bind(after)
      // MPP is now U, the least privileged mode; MPRV stays because M returned to M. Loads would be U's: no load until it is clear.
      story.logCsr(
        'after MRET to M',
        CSR.mstatus,
        STATUS.mie | STATUS.mpie | STATUS.mprv,
        STATUS.mie | STATUS.mpie | STATUS.mpp | STATUS.mprv,
      )
      story.clearBits(CSR.mstatus, STATUS.mie | STATUS.mprv)
    },
  },
  {
    name: 'returning to a mode below M clears MPRV',
    notInQemu: 'QEMU 7.2 follows an older privileged specification here',
    build(story) {
      const { asm } = story
      story.setBits(CSR.mstatus, STATUS.mprv)
      story.enter(SUPERVISOR)
      story.toMachine()
      story.logCsr('after MRET to S', CSR.mstatus, 0, STATUS.mprv)
      const user = asm.label()
      asm.loadAddress(5, user)
      asm.emit('csrrw', 0, CSR.sepc, 5)
      story.clearBits(CSR.sstatus, STATUS.spp)
      story.setBits(CSR.mstatus, STATUS.mprv)
      asm.emit('sret')
      asm.bind(user)
      story.toMachine()
      story.logCsr('after SRET to U', CSR.mstatus, 0, STATUS.mprv)
    },
  },
  {
    name: 'SRET restores the mode and the interrupt enable',
    build(story) {
      const { asm } = story
      story.enter(SUPERVISOR)
      const user = asm.label()
      asm.loadAddress(5, user)
      asm.emit('csrrw', 0, CSR.sepc, 5)
      story.clearBits(CSR.sstatus, STATUS.spp)
      story.setBits(CSR.sstatus, STATUS.spie)
      asm.emit('sret')
      asm.bind(user)
      story.trap('SRET went to U', () => asm.emit('csrrs', 5, CSR.sstatus, 0), {
        cause: CAUSE.illegal,
        from: USER,
      })
      story.toMachine()
      story.logCsr(
        'SIE took SPIE',
        CSR.sstatus,
        STATUS.sie | STATUS.spie,
        STATUS.sie | STATUS.spie | STATUS.spp,
      )
      story.clearBits(CSR.sstatus, STATUS.sie)
      // From M-mode SRET works too, and clears MPRV on the way to a lower mode.
      const supervisor = asm.label()
      asm.loadAddress(5, supervisor)
      asm.emit('csrrw', 0, CSR.sepc, 5)
      story.clearBits(CSR.sstatus, STATUS.spie)
      story.setBits(CSR.sstatus, STATUS.spp)
      asm.emit('sret')
      asm.bind(supervisor)
      asm.emit('csrrs', 5, CSR.sscratch, 0)
      story.trap('SRET went to S', () => asm.emit('csrrs', 5, CSR.mscratch, 0), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
      })
      story.toMachine()
    },
  },
  {
    name: 'delegated exceptions go to S-mode, but never from M-mode',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.medeleg, DELEGATED)
      story.logCsr('medeleg', CSR.medeleg, DELEGATED)
      story.trap('EBREAK from M', () => asm.emit('ebreak'), { cause: CAUSE.breakpoint })
      story.enter(SUPERVISOR)
      story.trap('EBREAK from S', () => asm.emit('ebreak'), {
        cause: CAUSE.breakpoint,
        from: SUPERVISOR,
        delegated: true,
      })
      story.trap('illegal from S', () => asm.half(0), {
        cause: CAUSE.illegal,
        from: SUPERVISOR,
        delegated: true,
      })
      story.trap('ECALL from S is not delegated', () => asm.emit('ecall'), {
        cause: CAUSE.supervisorCall,
        from: SUPERVISOR,
      })
      story.toMachine()
      story.enter(USER)
      story.trap('ECALL from U', () => asm.emit('ecall'), {
        cause: CAUSE.userCall,
        from: USER,
        delegated: true,
      })
      story.trap('illegal from U', () => asm.emit('csrrs', 5, CSR.satp, 0), {
        cause: CAUSE.illegal,
        from: USER,
        delegated: true,
      })
      asm.li(10, 0x0600_0000)
      story.trap('load access fault from U', () => asm.emit('lw', 5, 10, 0), {
        cause: CAUSE.loadAccess,
        from: USER,
        value: 0x0600_0000,
      })
      story.toMachineFromUser()
    },
  },
  {
    name: 'the mode before a trap is kept, from U through S to M',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.medeleg, 1 << CAUSE.userCall)
      story.enter(USER)
      story.trap('ECALL from U to S', () => asm.emit('ecall'), {
        cause: CAUSE.userCall,
        from: USER,
        delegated: true,
      })
      story.trap('EBREAK from U to M', () => asm.emit('ebreak'), { cause: CAUSE.breakpoint, from: USER })
      story.toMachineFromUser()
    },
  },
]
