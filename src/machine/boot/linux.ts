/**
 * Placing a Linux kernel, its initrd and its device tree in RAM, as the RISC-V boot protocol asks (Linux,
 * Documentation/arch/riscv/boot.rst and boot-image-header.rst).
 *
 * The kernel goes where its header wants it; the other two go to the top of RAM, far from what the kernel
 * allocates first.
 */
import { UnderstudyError } from '../../errors.ts'
import type { GuestMemory } from '../devices/device.ts'
import { RAM_BASE } from '../devices/memory-map.ts'
import type { Initrd } from './device-tree.ts'
import { type FdtNode, flattenFdt } from './fdt.ts'

export type LinuxBootErrorCode =
  | 'BOOT_KERNEL_NOT_IMAGE'
  | 'BOOT_KERNEL_COMPRESSED'
  | 'BOOT_KERNEL_HEADER'
  | 'BOOT_DOES_NOT_FIT'
  | 'BOOT_DEVICE_TREE_TOO_LARGE'

const NEXT: Record<LinuxBootErrorCode, string> = {
  BOOT_KERNEL_NOT_IMAGE:
    'Give an uncompressed RISC-V "Image", such as /boot/vmlinux-* of a riscv64 distribution.',
  BOOT_KERNEL_COMPRESSED: 'Decompress the kernel first (gunzip, unxz, zstd -d, …) and give the result.',
  BOOT_KERNEL_HEADER:
    'Give another kernel: the header of this one is damaged or not for a little-endian machine.',
  BOOT_DOES_NOT_FIT: 'Give the guest more memory, or a smaller kernel or initrd.',
  BOOT_DEVICE_TREE_TOO_LARGE: 'Shorten the kernel command line.',
}

export class LinuxBootError extends UnderstudyError {
  constructor(code: LinuxBootErrorCode, message: string) {
    super(code, message, NEXT[code])
  }
}

export interface LinuxImageHeader {
  /** From the start of RAM to where the image must lie. */
  readonly textOffset: number
  /** Memory the kernel takes, its zeroed data included. */
  readonly imageBytes: number
}

export interface LinuxPlacement {
  /** Physical address of the kernel, which is also its entry. */
  readonly kernelAddress: number
  readonly initrd: Initrd | null
  readonly deviceTreeAddress: number
}

const HEADER_BYTES = 64
/** "RSC" and 5, at 0x38. */
const MAGIC2 = 0x0543_5352
const FLAG_BIG_ENDIAN = 1n
const PAGE_BYTES = 4096
/** The kernel maps RAM by 2 MiB pages, so it must begin on one. */
const KERNEL_ALIGNMENT_BYTES = 2 * 1024 * 1024
/** Room for the device tree: ours has some 6 KiB, the rest is for command lines. */
const DEVICE_TREE_ROOM_BYTES = 64 * 1024

const COMPRESSED: readonly { readonly name: string; readonly magic: readonly number[] }[] = [
  { name: 'gzip', magic: [0x1f, 0x8b] },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00] },
  { name: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f] },
]

/**
 * Reads the header at the start of a kernel. An EFI stub in front ("MZ") is part of that header. Throws
 * LinuxBootError.
 */
export function readLinuxHeader(kernel: Uint8Array): LinuxImageHeader {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength)
  if (kernel.length < HEADER_BYTES || view.getUint32(0x38, true) !== MAGIC2) {
    for (const { name, magic } of COMPRESSED)
      if (magic.every((byte, index) => kernel[index] === byte))
        throw new LinuxBootError('BOOT_KERNEL_COMPRESSED', `The kernel is compressed with ${name}.`)
    // An EFI self-decompressing image names its payload's compression at 4.
    if (kernel.length >= HEADER_BYTES && String.fromCharCode(...kernel.subarray(4, 8)) === 'zimg')
      throw new LinuxBootError(
        'BOOT_KERNEL_COMPRESSED',
        'The kernel is an EFI zboot image, which holds a compressed one.',
      )
    throw new LinuxBootError(
      'BOOT_KERNEL_NOT_IMAGE',
      'The kernel is no RISC-V Linux Image: its header lacks the magic number.',
    )
  }
  const textOffset = view.getBigUint64(0x08, true)
  const imageBytes = view.getBigUint64(0x10, true)
  const flags = view.getBigUint64(0x18, true)
  if ((flags & FLAG_BIG_ENDIAN) !== 0n)
    throw new LinuxBootError('BOOT_KERNEL_HEADER', 'The kernel is big-endian.')
  if (textOffset % BigInt(KERNEL_ALIGNMENT_BYTES) !== 0n)
    throw new LinuxBootError(
      'BOOT_KERNEL_HEADER',
      `The kernel's text offset ${textOffset} is not a multiple of 2 MiB.`,
    )
  if (imageBytes < BigInt(kernel.length))
    throw new LinuxBootError(
      'BOOT_KERNEL_HEADER',
      `The kernel file has ${kernel.length} bytes, its header says ${imageBytes}.`,
    )
  // Far past any RAM; keeps the numbers exact.
  if (textOffset + imageBytes > 2n ** 48n)
    throw new LinuxBootError(
      'BOOT_DOES_NOT_FIT',
      `The kernel asks for ${textOffset + imageBytes} bytes of memory.`,
    )
  return { textOffset: Number(textOffset), imageBytes: Number(imageBytes) }
}

/** Where everything goes in `memoryBytes` of RAM. Throws LinuxBootError with BOOT_DOES_NOT_FIT. */
export function placeLinux(
  header: LinuxImageHeader,
  initrdBytes: number | null,
  memoryBytes: number,
): LinuxPlacement {
  const kernelAddress = RAM_BASE + header.textOffset
  const kernelEnd = kernelAddress + header.imageBytes
  const deviceTreeAddress = alignDown(RAM_BASE + memoryBytes - DEVICE_TREE_ROOM_BYTES)
  const initrdStart = alignDown(deviceTreeAddress - (initrdBytes ?? 0))
  if (initrdStart < kernelEnd) {
    const needed = kernelEnd - RAM_BASE + (initrdBytes ?? 0) + DEVICE_TREE_ROOM_BYTES
    throw new LinuxBootError(
      'BOOT_DOES_NOT_FIT',
      `Kernel, initrd and device tree need ${needed} bytes of memory; the guest has ${memoryBytes}.`,
    )
  }
  const initrd = initrdBytes === null ? null : { start: initrdStart, end: initrdStart + initrdBytes }
  return { kernelAddress, initrd, deviceTreeAddress }
}

export interface LinuxBoot {
  readonly kernel: Uint8Array
  readonly initrd: Uint8Array | null
  readonly memoryBytes: number
  /** The machine's tree, once it is known where the initrd lies. */
  deviceTree(initrd: Initrd | null): FdtNode
}

/**
 * Loads everything into freshly zeroed RAM. The boot hart starts at `kernelAddress` with its number in a0 and
 * `deviceTreeAddress` in a1.
 */
export function loadLinux(memory: GuestMemory, boot: LinuxBoot): LinuxPlacement {
  const header = readLinuxHeader(boot.kernel)
  const placement = placeLinux(header, boot.initrd === null ? null : boot.initrd.length, boot.memoryBytes)
  const blob = flattenFdt(boot.deviceTree(placement.initrd))
  if (blob.length > DEVICE_TREE_ROOM_BYTES)
    throw new LinuxBootError(
      'BOOT_DEVICE_TREE_TOO_LARGE',
      `The device tree has ${blob.length} bytes, ${DEVICE_TREE_ROOM_BYTES} are kept for it.`,
    )
  memory.write(placement.kernelAddress, boot.kernel)
  if (boot.initrd !== null && placement.initrd !== null) memory.write(placement.initrd.start, boot.initrd)
  memory.write(placement.deviceTreeAddress, blob)
  return placement
}

function alignDown(address: number): number {
  return Math.floor(address / PAGE_BYTES) * PAGE_BYTES
}
