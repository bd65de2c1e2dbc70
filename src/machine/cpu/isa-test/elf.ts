/**
 * Writes the smallest static ELF64 executable that a loader and a debugger accept: one loadable segment and a
 * symbol table (System V ABI, chapters 4 and 5; RISC-V ELF psABI for the machine number and flags).
 */

export interface ElfImage {
  /** The address of the first byte, which is also the entry. */
  readonly base: number
  readonly bytes: Uint8Array
  /** Room behind the bytes that the loader zeroes. */
  readonly zeroBytes?: number
  readonly symbols?: { readonly [name: string]: number }
}

const HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64
const SYMBOL_BYTES = 24
const MACHINE_RISCV = 243
/** RVC and the double-float calling convention. */
const FLAGS = 0x0005
const SECTION_NAMES = '\0.text\0.symtab\0.strtab\0.shstrtab\0'
const SHT_PROGBITS = 1
const SHT_SYMTAB = 2
const SHT_STRTAB = 3

const aligned = (offset: number) => (offset + 7) & ~7

export function writeElf(image: ElfImage): Uint8Array {
  const symbols = Object.entries(image.symbols ?? {})
  const names = `\0${symbols.map(([name]) => `${name}\0`).join('')}`
  const textOffset = aligned(HEADER_BYTES + PROGRAM_HEADER_BYTES)
  const symbolsOffset = aligned(textOffset + image.bytes.length)
  const symbolsBytes = SYMBOL_BYTES * (symbols.length + 1)
  const namesOffset = symbolsOffset + symbolsBytes
  const sectionNamesOffset = namesOffset + names.length
  const sectionsOffset = aligned(sectionNamesOffset + SECTION_NAMES.length)
  const file = new Uint8Array(sectionsOffset + 5 * SECTION_HEADER_BYTES)
  const view = new DataView(file.buffer)
  const u16 = (offset: number, value: number) => view.setUint16(offset, value, true)
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true)
  const u64 = (offset: number, value: number) => view.setBigUint64(offset, BigInt(value), true)
  const text = (offset: number, value: string) => file.set(new TextEncoder().encode(value), offset)

  text(1, 'ELF')
  file[0] = 0x7f
  file.set([2, 1, 1], 4)
  u16(16, 2)
  u16(18, MACHINE_RISCV)
  u32(20, 1)
  u64(24, image.base)
  u64(32, HEADER_BYTES)
  u64(40, sectionsOffset)
  u32(48, FLAGS)
  u16(52, HEADER_BYTES)
  u16(54, PROGRAM_HEADER_BYTES)
  u16(56, 1)
  u16(58, SECTION_HEADER_BYTES)
  u16(60, 5)
  u16(62, 4)

  u32(HEADER_BYTES, 1)
  u32(HEADER_BYTES + 4, 7)
  u64(HEADER_BYTES + 8, textOffset)
  u64(HEADER_BYTES + 16, image.base)
  u64(HEADER_BYTES + 24, image.base)
  u64(HEADER_BYTES + 32, image.bytes.length)
  u64(HEADER_BYTES + 40, image.bytes.length + (image.zeroBytes ?? 0))
  u64(HEADER_BYTES + 48, 8)

  file.set(image.bytes, textOffset)
  let nameOffset = 1
  symbols.forEach(([name, address], n) => {
    const offset = symbolsOffset + (n + 1) * SYMBOL_BYTES
    u32(offset, nameOffset)
    file[offset + 4] = 0x10
    u16(offset + 6, 1)
    u64(offset + 8, address)
    nameOffset += name.length + 1
  })
  text(namesOffset, names)
  text(sectionNamesOffset, SECTION_NAMES)

  const section = (
    n: number,
    at: {
      name: number
      type: number
      flags?: number
      address?: number
      offset: number
      size: number
      link?: number
      info?: number
      entry?: number
    },
  ) => {
    const header = sectionsOffset + n * SECTION_HEADER_BYTES
    u32(header, at.name)
    u32(header + 4, at.type)
    u64(header + 8, at.flags ?? 0)
    u64(header + 16, at.address ?? 0)
    u64(header + 24, at.offset)
    u64(header + 32, at.size)
    u32(header + 40, at.link ?? 0)
    u32(header + 44, at.info ?? 0)
    u64(header + 48, at.type === SHT_PROGBITS || at.type === SHT_SYMTAB ? 8 : 1)
    u64(header + 56, at.entry ?? 0)
  }
  section(1, {
    name: 1,
    type: SHT_PROGBITS,
    flags: 7,
    address: image.base,
    offset: textOffset,
    size: image.bytes.length,
  })
  section(2, {
    name: 7,
    type: SHT_SYMTAB,
    offset: symbolsOffset,
    size: symbolsBytes,
    link: 3,
    info: 1,
    entry: SYMBOL_BYTES,
  })
  section(3, { name: 15, type: SHT_STRTAB, offset: namesOffset, size: names.length })
  section(4, { name: 23, type: SHT_STRTAB, offset: sectionNamesOffset, size: SECTION_NAMES.length })
  return file
}
