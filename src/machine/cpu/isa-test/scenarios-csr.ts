/** Control and status registers: which values they hold, what shows through which, and the counters. */
import { CAUSE, CSR, STATUS, SUPERVISOR, USER } from './privileged.ts'
import type { Scenario } from './scenario.ts'

const COUNTERS = [CSR.cycle, CSR.time, CSR.instret] as const

export const CSR_SCENARIOS: readonly Scenario[] = [
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
]
