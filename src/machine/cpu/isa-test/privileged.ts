/** Names of the privileged architecture that scenarios use (The RISC-V Instruction Set Manual, volume II). */

export const CSR = {
  fflags: 0x001,
  frm: 0x002,
  fcsr: 0x003,
  sstatus: 0x100,
  sie: 0x104,
  stvec: 0x105,
  scounteren: 0x106,
  senvcfg: 0x10a,
  sscratch: 0x140,
  sepc: 0x141,
  scause: 0x142,
  stval: 0x143,
  sip: 0x144,
  stimecmp: 0x14d,
  satp: 0x180,
  mvendorid: 0xf11,
  mhartid: 0xf14,
  mstatus: 0x300,
  misa: 0x301,
  medeleg: 0x302,
  mideleg: 0x303,
  mie: 0x304,
  mtvec: 0x305,
  mcounteren: 0x306,
  menvcfg: 0x30a,
  mscratch: 0x340,
  mepc: 0x341,
  mcause: 0x342,
  mtval: 0x343,
  mip: 0x344,
  pmpcfg0: 0x3a0,
  pmpaddr0: 0x3b0,
  cycle: 0xc00,
  time: 0xc01,
  instret: 0xc02,
  mcycle: 0xb00,
  minstret: 0xb02,
} as const

export const CAUSE = {
  fetchMisaligned: 0,
  fetchAccess: 1,
  illegal: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  userCall: 8,
  supervisorCall: 9,
  machineCall: 11,
  fetchPage: 12,
  loadPage: 13,
  storePage: 15,
} as const

export const INTERRUPT = {
  supervisorSoftware: 1,
  machineSoftware: 3,
  supervisorTimer: 5,
  machineTimer: 7,
  supervisorExternal: 9,
  machineExternal: 11,
} as const

export const STATUS = {
  sie: 1n << 1n,
  mie: 1n << 3n,
  spie: 1n << 5n,
  mpie: 1n << 7n,
  spp: 1n << 8n,
  mpp: 3n << 11n,
  fs: 3n << 13n,
  mprv: 1n << 17n,
  sum: 1n << 18n,
  mxr: 1n << 19n,
  tvm: 1n << 20n,
  tw: 1n << 21n,
  tsr: 1n << 22n,
  sd: 1n << 63n,
} as const

export const USER = 0
export const SUPERVISOR = 1
export const MACHINE = 3
export type Privilege = typeof USER | typeof SUPERVISOR | typeof MACHINE

/** Bits of menvcfg and senvcfg that allow cache-block operations in the next lower modes. */
export const ENVIRONMENT = { cbie: 3n << 4n, cbcfe: 1n << 6n, cbze: 1n << 7n } as const

/** Page table entry bits. */
export const PTE = { v: 1, r: 2, w: 4, x: 8, u: 16, g: 32, a: 64, d: 128 } as const
export const SATP_SV39 = 8n << 60n
