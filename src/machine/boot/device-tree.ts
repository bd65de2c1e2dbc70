/** The device tree of the whole machine, put together from what each device says of itself. */
import { HART_PHANDLE_BASE, RAM_BASE, TIMEBASE_HZ } from '../devices/memory-map.ts'
import type { FdtNode, FdtValue } from './fdt.ts'

/** What the harts can do; all harts of a machine are alike. */
export interface HartIsa {
  /** The base, as in `riscv,isa-base`: `rv64i`. */
  readonly base: string
  /** All extensions in canonical order, single letters first: `['i','m','a','f','d','c','zicsr', …]`. */
  readonly extensions: readonly string[]
  /** Widest translation mode: `riscv,sv39` or `riscv,sv48`. */
  readonly mmuType: 'riscv,sv39' | 'riscv,sv48'
  /** Given exactly if the extension of that name is there, in bytes. */
  readonly cbomBlockBytes?: number
  readonly cbozBlockBytes?: number
}

export interface Initrd {
  /** First byte. */
  readonly start: number
  /** First byte behind it. */
  readonly end: number
}

export interface DeviceTreeOptions {
  readonly harts: number
  readonly isa: HartIsa
  readonly memoryBytes: number
  /** The nodes of the memory-mapped devices, all of which go under `/soc`. */
  readonly devices: readonly FdtNode[]
  /** Nodes without an address of their own, at the root: how to power off and reset. */
  readonly rootNodes: readonly FdtNode[]
  /** Kernel command line. */
  readonly append: string
  readonly initrd: Initrd | null
  /** Path of the console, or null for none. */
  readonly stdoutPath: string | null
  readonly rngSeed: Uint8Array
}

export function buildDeviceTree(options: DeviceTreeOptions): FdtNode {
  return {
    name: '',
    properties: {
      '#address-cells': 2,
      '#size-cells': 2,
      compatible: ['understudy,virt', 'riscv-virtio'],
      model: 'understudy,virt',
    },
    children: [
      chosen(options),
      {
        name: `memory@${RAM_BASE.toString(16)}`,
        properties: { device_type: 'memory', reg: [BigInt(RAM_BASE), BigInt(options.memoryBytes)] },
      },
      cpus(options.harts, options.isa),
      {
        name: 'soc',
        properties: { '#address-cells': 2, '#size-cells': 2, compatible: 'simple-bus', ranges: true },
        children: [...options.devices].sort((a, b) => addressOf(a) - addressOf(b)),
      },
      ...options.rootNodes,
    ],
  }
}

function chosen(options: DeviceTreeOptions): FdtNode {
  const properties: Record<string, FdtValue> = { bootargs: options.append, 'rng-seed': options.rngSeed }
  if (options.stdoutPath !== null) properties['stdout-path'] = options.stdoutPath
  if (options.initrd !== null) {
    properties['linux,initrd-start'] = BigInt(options.initrd.start)
    properties['linux,initrd-end'] = BigInt(options.initrd.end)
  }
  return { name: 'chosen', properties }
}

function cpus(harts: number, isa: HartIsa): FdtNode {
  return {
    name: 'cpus',
    properties: { '#address-cells': 1, '#size-cells': 0, 'timebase-frequency': TIMEBASE_HZ },
    children: Array.from({ length: harts }, (_, hart) => cpu(hart, isa)),
  }
}

function cpu(hart: number, isa: HartIsa): FdtNode {
  const properties: Record<string, FdtValue> = {
    device_type: 'cpu',
    reg: hart,
    status: 'okay',
    compatible: 'riscv',
    'riscv,isa': isaString(isa),
    'riscv,isa-base': isa.base,
    'riscv,isa-extensions': isa.extensions,
    'mmu-type': isa.mmuType,
  }
  if (isa.cbomBlockBytes !== undefined) properties['riscv,cbom-block-size'] = isa.cbomBlockBytes
  if (isa.cbozBlockBytes !== undefined) properties['riscv,cboz-block-size'] = isa.cbozBlockBytes
  return {
    name: `cpu@${hart.toString(16)}`,
    properties,
    children: [
      {
        name: 'interrupt-controller',
        properties: {
          compatible: 'riscv,cpu-intc',
          'interrupt-controller': true,
          '#interrupt-cells': 1,
          phandle: HART_PHANDLE_BASE + hart,
        },
      },
    ],
  }
}

/**
 * The older form of the same: single letters after the width, then the long names. Kernels want it to start
 * `rv64ima`.
 */
export function isaString(isa: HartIsa): string {
  const width = isa.base.slice(0, -1)
  const letters = isa.extensions.filter((extension) => extension.length === 1)
  const names = isa.extensions.filter((extension) => extension.length > 1)
  return [`${width}${letters.join('')}`, ...names].join('_')
}

function addressOf(node: FdtNode): number {
  return Number.parseInt(node.name.split('@')[1] ?? '0', 16)
}
