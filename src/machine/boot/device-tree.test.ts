import { describe, expect, test } from 'vitest'
import { Clint } from '../devices/clint/clint.ts'
import { Plic } from '../devices/plic/plic.ts'
import { GoldfishRtc } from '../devices/rtc/goldfish.ts'
import { Syscon } from '../devices/syscon/syscon.ts'
import { TestContext } from '../devices/testing/test-context.ts'
import { Uart16550 } from '../devices/uart16550/uart16550.ts'
import { VirtioMmio } from '../devices/virtio/transport.ts'
import { VirtioNet } from '../devices/virtio-net/virtio-net.ts'
import { VirtioRng } from '../devices/virtio-rng/virtio-rng.ts'
import { buildDeviceTree, type DeviceTreeOptions, type HartIsa, isaString } from './device-tree.ts'
import { type FdtBlobNode, findFdtNode, flattenFdt, readFdt } from './fdt.ts'

const ISA: HartIsa = {
  base: 'rv64i',
  extensions: ['i', 'm', 'a', 'f', 'd', 'c', 'zicsr', 'zifencei', 'zba'],
  mmuType: 'riscv,sv39',
}

function machine(harts: number, extra: Partial<DeviceTreeOptions> = {}): FdtBlobNode {
  const context = new TestContext()
  const syscon = new Syscon(context)
  const devices = [
    new VirtioMmio(1, context, new VirtioRng()),
    new VirtioMmio(0, context, new VirtioNet(0, new Uint8Array(6))),
    new Uart16550(context),
    new Plic(harts, () => {}),
    new Clint(
      Array.from({ length: harts }, () => ({ msip: false, mtimecmp: 0n })),
      () => 0n,
    ),
    new GoldfishRtc(context, 0n),
    syscon,
  ]
  const tree = buildDeviceTree({
    harts,
    isa: ISA,
    memoryBytes: 512 * 1024 * 1024,
    devices: devices.map((device) => device.fdtNode()),
    rootNodes: syscon.powerNodes(),
    append: 'console=ttyS0',
    initrd: { start: 0x9000_0000, end: 0x9012_3456 },
    stdoutPath: '/soc/serial@10000000',
    rngSeed: new Uint8Array(32).fill(7),
    ...extra,
  })
  return readFdt(flattenFdt(tree)).root
}

function cells(root: FdtBlobNode, path: string, property: string): number[] {
  const bytes = findFdtNode(root, path)?.properties.get(property)
  if (bytes === undefined) throw new Error(`${path} has no ${property}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4))
}

function strings(root: FdtBlobNode, path: string, property: string): string[] {
  const bytes = findFdtNode(root, path)?.properties.get(property)
  return new TextDecoder().decode(bytes).split('\0').slice(0, -1)
}

describe('the tree of the machine', () => {
  test('chosen carries what the kernel is told', () => {
    const root = machine(1)
    expect(strings(root, '/chosen', 'bootargs')).toEqual(['console=ttyS0'])
    expect(cells(root, '/chosen', 'linux,initrd-start')).toEqual([0, 0x9000_0000])
    expect(cells(root, '/chosen', 'linux,initrd-end')).toEqual([0, 0x9012_3456])
    expect(cells(root, '/chosen', 'rng-seed')).toEqual(Array(8).fill(0x07070707))
    const [console] = strings(root, '/chosen', 'stdout-path')
    expect(strings(root, console, 'compatible')).toEqual(['ns16550a'])
  })

  test('without initrd and console it says so', () => {
    const chosen = findFdtNode(machine(1, { initrd: null, stdoutPath: null }), '/chosen')
    expect([...(chosen?.properties.keys() ?? [])]).toEqual(['bootargs', 'rng-seed'])
  })

  test('memory is one range at 2 GiB', () => {
    expect(cells(machine(1), '/memory@80000000', 'reg')).toEqual([0, 0x8000_0000, 0, 512 * 1024 * 1024])
  })

  test('harts say what they can do in both forms', () => {
    const root = machine(2)
    expect(strings(root, '/cpus/cpu@1', 'riscv,isa')).toEqual(['rv64imafdc_zicsr_zifencei_zba'])
    expect(strings(root, '/cpus/cpu@1', 'riscv,isa-base')).toEqual(['rv64i'])
    expect(strings(root, '/cpus/cpu@1', 'riscv,isa-extensions')).toEqual(ISA.extensions)
    expect(strings(root, '/cpus/cpu@1', 'mmu-type')).toEqual(['riscv,sv39'])
    expect(cells(root, '/cpus', 'timebase-frequency')).toEqual([10_000_000])
    expect(cells(root, '/cpus/cpu@1', 'reg')).toEqual([1])
    expect(findFdtNode(root, '/cpus/cpu@0')?.properties.has('riscv,cbom-block-size')).toBe(false)
  })

  test('block sizes are there exactly if given', () => {
    const root = machine(1, { isa: { ...ISA, cbomBlockBytes: 64, cbozBlockBytes: 64 } })
    expect(cells(root, '/cpus/cpu@0', 'riscv,cbom-block-size')).toEqual([64])
    expect(cells(root, '/cpus/cpu@0', 'riscv,cboz-block-size')).toEqual([64])
  })

  test('interrupt wires lead from every device to the PLIC and from there to every hart', () => {
    const root = machine(2)
    const [plic] = cells(root, '/soc/plic@c000000', 'phandle')
    for (const [path, source] of [
      ['/soc/serial@10000000', 10],
      ['/soc/rtc@101000', 11],
      ['/soc/virtio_mmio@10001000', 1],
      ['/soc/virtio_mmio@10002000', 2],
    ] as const) {
      expect(cells(root, path, 'interrupt-parent')).toEqual([plic])
      expect(cells(root, path, 'interrupts')).toEqual([source])
    }
    const controllers = [0, 1].map(
      (hart) => cells(root, `/cpus/cpu@${hart}/interrupt-controller`, 'phandle')[0],
    )
    const wires = (pair: readonly number[]): number[] =>
      controllers.flatMap((controller) => [controller, pair[0], controller, pair[1]])
    expect(cells(root, '/soc/plic@c000000', 'interrupts-extended')).toEqual(wires([11, 9]))
    expect(cells(root, '/soc/clint@2000000', 'interrupts-extended')).toEqual(wires([3, 7]))
  })

  test('phandles are unique and power nodes point at the syscon', () => {
    const root = machine(8)
    const phandles: string[] = []
    const walk = (node: FdtBlobNode): void => {
      const phandle = node.properties.get('phandle')
      if (phandle !== undefined) phandles.push(phandle.join('.'))
      node.children.forEach(walk)
    }
    walk(root)
    expect(new Set(phandles).size).toBe(phandles.length)
    expect(cells(root, '/poweroff', 'regmap')).toEqual(cells(root, '/soc/test@100000', 'phandle'))
    expect(cells(root, '/poweroff', 'value')).toEqual([0x5555])
    expect(cells(root, '/reboot', 'value')).toEqual([0x7777])
  })

  test('devices are sorted by address, so that their order of plugging does not show', () => {
    const soc = findFdtNode(machine(1), '/soc')
    const addresses = soc?.children.map((child) => Number.parseInt(child.name.split('@')[1], 16)) ?? []
    expect(addresses).toEqual([...addresses].sort((a, b) => a - b))
    expect(addresses).toHaveLength(7)
  })
})

test('the older form of the ISA starts as kernels want it', () => {
  expect(isaString(ISA)).toMatch(/^rv64ima/)
})
