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
const COUNTERS = [CSR.cycle, CSR.time, CSR.instret] as const

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
    name: 'sstatus, sie and sip are windows of the machine registers',
    build(story) {
      const { asm } = story
      const visible = STATUS.sie | STATUS.spie | STATUS.spp | STATUS.sum | STATUS.mxr
      story.setBits(CSR.mstatus, visible | STATUS.mpie | STATUS.tvm)
      story.logCsr(
        'seen through sstatus',
        CSR.sstatus,
        visible,
        visible | STATUS.mpie | STATUS.mpp | STATUS.tvm | STATUS.mprv | STATUS.tw | STATUS.tsr,
      )
      story.setCsr(CSR.sstatus, 0)
      story.logCsr(
        'cleared through sstatus',
        CSR.mstatus,
        STATUS.mpie | STATUS.tvm,
        visible | STATUS.mpie | STATUS.tvm,
      )
      story.setCsr(CSR.sstatus, -1)
      story.logCsr(
        'machine fields are out of reach',
        CSR.mstatus,
        0,
        STATUS.mie | STATUS.mpp | STATUS.mprv | STATUS.tw | STATUS.tsr,
      )
      story.setCsr(CSR.mideleg, 0)
      story.setCsr(CSR.mie, 0x222)
      story.logCsr('sie without delegation', CSR.sie, 0)
      story.setCsr(CSR.mideleg, 0x22)
      story.logCsr('sie shows what is delegated', CSR.sie, 0x22)
      story.setCsr(CSR.sie, 0)
      story.logCsr('sie changes only what is delegated', CSR.mie, 0x200)
      story.setCsr(CSR.mip, 0x22)
      story.logCsr('sip shows what is delegated', CSR.sip, 0x22)
      story.setCsr(CSR.sip, 0)
      story.logCsr('only the software interrupt can be cleared through sip', CSR.mip, 0x20, 0x22n)
      story.setCsr(CSR.mip, 0)
      asm.emit('csrrwi', 0, CSR.mie, 0)
      story.clearBits(CSR.mstatus, visible | STATUS.mpie | STATUS.tvm | STATUS.fs)
    },
  },
  {
    name: 'fields that accept only legal values',
    build(story) {
      story.logCsr('UXL and SXL are 64', CSR.mstatus, (2n << 32n) | (2n << 34n), (3n << 32n) | (3n << 34n))
      story.setCsr(CSR.satp, (5n << 60n) | 0x8_0010n)
      story.logCsr('a reserved satp mode changes nothing', CSR.satp, 0)
      story.setBits(CSR.mstatus, STATUS.fs)
      story.setCsr(CSR.fcsr, -1)
      story.logCsr('fcsr has eight bits', CSR.fcsr, 0xff)
      story.setCsr(CSR.fcsr, 0)
      story.setCsr(CSR.mscratch, 0x8000_0000_0000_0001n)
      story.logCsr('mscratch holds anything', CSR.mscratch, 0x8000_0000_0000_0001n)
      story.setCsr(CSR.mcause, 0x8000_0000_0000_000bn)
      story.logCsr('mcause holds what it must', CSR.mcause, 0x8000_0000_0000_000bn)
      story.setCsr(CSR.mtval, -3)
      story.logCsr('mtval holds any address', CSR.mtval, -3)
      const base = 0x1105n | (1n << 18n) | (1n << 20n) | (2n << 62n) | (1n << 3n)
      story.logCsr(
        'misa: RV64, A C D F I M S U',
        CSR.misa,
        base | (1n << 5n) | (1n << 12n),
        base | (1n << 5n) | (1n << 12n),
      )
    },
  },
  {
    name: 'bit 0 of mepc and sepc is always zero',
    notInQemu: 'QEMU 7.2 keeps the bit',
    build(story) {
      story.setCsr(CSR.mepc, -1)
      story.logCsr('mepc', CSR.mepc, -2)
      story.setCsr(CSR.sepc, -1)
      story.logCsr('sepc', CSR.sepc, -2)
    },
  },
  {
    name: 'MPP never holds the reserved mode 2',
    notInQemu: 'QEMU 7.2 stores it',
    build(story) {
      story.setBits(CSR.mstatus, STATUS.mpp)
      const kept = 2n << 11n
      story.asm.emit('csrrs', 5, CSR.mstatus, 0)
      story.asm.li(6, ~STATUS.mpp)
      story.asm.emit('and', 5, 5, 6)
      story.asm.li(6, kept)
      story.asm.emit('or', 5, 5, 6)
      story.asm.emit('csrrw', 0, CSR.mstatus, 5)
      story.asm.emit('csrrs', 5, CSR.mstatus, 0)
      story.asm.emit('srli', 5, 5, 11)
      story.asm.emit('andi', 5, 5, 3)
      story.asm.emit('addi', 5, 5, -2)
      story.asm.emit('sltiu', 5, 5, 1)
      story.log('MPP is 2', 5, 0)
    },
  },
  {
    name: 'mcounteren and scounteren decide who reads the counters',
    build(story) {
      const { asm } = story
      story.setCsr(CSR.mcounteren, 0)
      story.setCsr(CSR.scounteren, 7)
      for (const privilege of [SUPERVISOR, USER] as const) {
        story.enter(privilege)
        for (const csr of COUNTERS) {
          story.trap(`${csr.toString(16)} from ${privilege}`, () => asm.emit('csrrs', 5, csr, 0), {
            cause: CAUSE.illegal,
            from: privilege,
          })
        }
        story.toMachine()
      }
      COUNTERS.forEach((csr, n) => {
        story.setCsr(CSR.mcounteren, 1 << n)
        story.setCsr(CSR.scounteren, 0)
        story.enter(SUPERVISOR)
        asm.emit('csrrs', 5, csr, 0)
        story.toMachine()
        story.enter(USER)
        story.trap(`${csr.toString(16)} without scounteren`, () => asm.emit('csrrs', 5, csr, 0), {
          cause: CAUSE.illegal,
          from: USER,
        })
        story.toMachine()
        story.setCsr(CSR.scounteren, 1 << n)
        story.enter(USER)
        asm.emit('csrrs', 5, csr, 0)
        story.toMachine()
      })
    },
  },
  {
    name: 'time and counters run forward',
    build(story) {
      const { asm } = story
      for (const csr of [CSR.time, CSR.cycle, CSR.instret]) {
        asm.emit('csrrs', 5, csr, 0)
        for (let n = 0; n < 4; n++) asm.emit('addi', 0, 0, 0)
        asm.emit('csrrs', 6, csr, 0)
        asm.emit('sltu', 7, 6, 5)
        story.log(`${csr.toString(16)} never runs back`, 7, 0)
      }
    },
  },
  {
    name: 'minstret counts retired instructions exactly',
    notInQemu: 'QEMU counts time unless told otherwise',
    build(story) {
      const { asm } = story
      asm.emit('csrrs', 5, CSR.minstret, 0)
      for (let n = 0; n < 4; n++) asm.emit('c.nop')
      asm.emit('csrrs', 6, CSR.minstret, 0)
      asm.emit('sub', 7, 6, 5)
      story.log('five after four no-ops', 7, 5)
      asm.li(5, 1000)
      asm.emit('csrrw', 0, CSR.minstret, 5)
      asm.emit('csrrs', 6, CSR.minstret, 0)
      story.log('a write holds for the next instruction', 6, 1000)
      const loop = asm.label()
      asm.li(7, 10)
      asm.emit('csrrs', 5, CSR.minstret, 0)
      asm.bind(loop)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      asm.emit('csrrs', 6, CSR.minstret, 0)
      asm.emit('sub', 7, 6, 5)
      story.log('a loop of ten', 7, 21)
      // An instruction that traps does not retire; the handler's do.
      asm.emit('csrrs', 5, CSR.minstret, 0)
      asm.emit('csrrs', 6, CSR.instret, 0)
      asm.emit('sub', 7, 6, 5)
      story.log('instret is minstret', 7, 1)
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
