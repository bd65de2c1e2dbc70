import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RAM_BASE } from '../devices/memory-map.ts'
import { TestRam } from '../devices/testing/test-ram.ts'
import { readFdt } from './fdt.ts'
import { type LinuxBoot, loadLinux, placeLinux, readLinuxHeader } from './linux.ts'

const MIB = 1024 * 1024

function image(
  options: { textOffset?: bigint; imageBytes?: bigint; flags?: bigint; efi?: boolean; length?: number } = {},
): Uint8Array {
  const bytes = new Uint8Array(options.length ?? 4096)
  const view = new DataView(bytes.buffer)
  // A Debian kernel begins with "MZ", which is a harmless instruction, for EFI.
  view.setUint32(0, options.efi === true ? 0x0000_5a4d : 0x0000_0013, true)
  view.setBigUint64(8, options.textOffset ?? BigInt(2 * MIB), true)
  view.setBigUint64(16, options.imageBytes ?? BigInt(8 * MIB), true)
  view.setBigUint64(24, options.flags ?? 0n, true)
  bytes.set([0x52, 0x49, 0x53, 0x43, 0x56, 0, 0, 0, 0x52, 0x53, 0x43, 0x05], 0x30)
  return bytes
}

describe('the header', () => {
  test('says where the kernel goes and what it takes, EFI or not', () => {
    for (const efi of [false, true])
      expect(readLinuxHeader(image({ efi }))).toEqual({ textOffset: 2 * MIB, imageBytes: 8 * MIB })
  })

  const refused: readonly [string, string, Uint8Array][] = [
    ['an empty file', 'BOOT_KERNEL_NOT_IMAGE', new Uint8Array(0)],
    ['a short file', 'BOOT_KERNEL_NOT_IMAGE', image().subarray(0, 63)],
    ['an ELF file', 'BOOT_KERNEL_NOT_IMAGE', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, ...new Uint8Array(100))],
    ['gzip', 'BOOT_KERNEL_COMPRESSED', gzipSync(image())],
    ['xz', 'BOOT_KERNEL_COMPRESSED', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)],
    ['zstd', 'BOOT_KERNEL_COMPRESSED', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd)],
    [
      'an EFI zboot image',
      'BOOT_KERNEL_COMPRESSED',
      Uint8Array.of(0x4d, 0x5a, 0, 0, 0x7a, 0x69, 0x6d, 0x67, ...new Uint8Array(100)),
    ],
    ['a big-endian kernel', 'BOOT_KERNEL_HEADER', image({ flags: 1n })],
    ['a text offset off a page', 'BOOT_KERNEL_HEADER', image({ textOffset: 4096n })],
    ['a file longer than its image', 'BOOT_KERNEL_HEADER', image({ imageBytes: 100n })],
    ['an image of 2^63 bytes', 'BOOT_DOES_NOT_FIT', image({ imageBytes: 1n << 63n })],
    ['a text offset near 2^64', 'BOOT_DOES_NOT_FIT', image({ textOffset: (1n << 64n) - BigInt(2 * MIB) })],
  ]
  for (const [what, code, kernel] of refused)
    test(`refuses ${what} with ${code}`, () => {
      expect(() => readLinuxHeader(kernel)).toThrow(
        expect.objectContaining({ code, next: expect.stringMatching(/^(Give|Decompress)/) }),
      )
    })
})

describe('the place', () => {
  test('nothing overlaps, everything lies in RAM and on a page, or it is refused', () => {
    fc.assert(
      fc.property(
        fc.nat(4).map((steps) => steps * 2 * MIB),
        fc.integer({ min: 64, max: 64 * MIB }),
        fc.option(fc.nat(64 * MIB)),
        fc.integer({ min: 16, max: 160 }).map((mib) => mib * MIB),
        (textOffset, imageBytes, initrdBytes, memoryBytes) => {
          const needed = textOffset + imageBytes + (initrdBytes ?? 0) + 64 * 1024
          try {
            const { kernelAddress, initrd, deviceTreeAddress } = placeLinux(
              { textOffset, imageBytes },
              initrdBytes,
              memoryBytes,
            )
            expect(kernelAddress).toBe(RAM_BASE + textOffset)
            const initrdStart = initrd?.start ?? deviceTreeAddress
            expect(initrdStart).toBeGreaterThanOrEqual(kernelAddress + imageBytes)
            expect(initrd === null).toBe(initrdBytes === null)
            if (initrd !== null) expect(initrd.end - initrd.start).toBe(initrdBytes)
            expect(deviceTreeAddress).toBeGreaterThanOrEqual(initrd?.end ?? 0)
            expect(deviceTreeAddress).toBeLessThan(RAM_BASE + memoryBytes)
            expect([initrdStart % 4096, deviceTreeAddress % 4096]).toEqual([0, 0])
          } catch (error) {
            expect(error).toMatchObject({ code: 'BOOT_DOES_NOT_FIT' })
            expect(needed + 4096).toBeGreaterThan(memoryBytes)
          }
        },
      ),
    )
  })
})

describe('loading', () => {
  const boot = (extra: Partial<LinuxBoot> = {}): LinuxBoot => ({
    kernel: image({ imageBytes: 4096n }),
    initrd: Uint8Array.of(1, 2, 3),
    memoryBytes: 16 * MIB,
    deviceTree: (initrd) => ({ name: '', properties: { start: BigInt(initrd?.start ?? 0) } }),
    ...extra,
  })

  test('kernel, initrd and a tree that knows the initrd lie where the placement says', () => {
    const ram = new TestRam(16 * MIB)
    const placement = loadLinux(ram, boot())
    expect(ram.view(placement.kernelAddress, 4096)).toEqual(image({ imageBytes: 4096n }))
    const start = placement.initrd?.start ?? 0
    expect([...ram.view(start, 3)]).toEqual([1, 2, 3])
    const room = ram.view(placement.deviceTreeAddress, RAM_BASE + 16 * MIB - placement.deviceTreeAddress)
    const bytes = readFdt(room).root.properties.get('start') ?? new Uint8Array(8)
    expect(new DataView(bytes.buffer).getBigUint64(0)).toBe(BigInt(start))
  })

  test('a tree that is too large is refused before anything is written', () => {
    const ram = new TestRam(16 * MIB)
    const deviceTree = (): { name: string; properties: { bootargs: string } } => ({
      name: '',
      properties: { bootargs: 'x'.repeat(70_000) },
    })
    expect(() => loadLinux(ram, boot({ deviceTree }))).toThrow(
      expect.objectContaining({ code: 'BOOT_DEVICE_TREE_TOO_LARGE' }),
    )
    expect(ram.bytes.some((byte) => byte !== 0)).toBe(false)
  })
})
