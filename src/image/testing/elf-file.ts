/** Makes small ELF files for tests: no code, only what elf.ts reads. */

export interface ElfParts {
  readonly interpreter?: string
  readonly libraries?: readonly string[]
  readonly modinfo?: readonly string[]
}

const HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64

export function makeElf(parts: ElfParts): Buffer {
  const dynstr = strings(['', ...(parts.libraries ?? [])])
  const dynamic = Buffer.alloc(16 * ((parts.libraries?.length ?? 0) + 1))
  for (const [index, library] of (parts.libraries ?? []).entries()) {
    dynamic.writeBigUInt64LE(1n, index * 16)
    dynamic.writeBigUInt64LE(BigInt(dynstr.indexOf(`\0${library}\0`) + 1), index * 16 + 8)
  }
  const sectionNames = strings(['', '.dynamic', '.dynstr', '.modinfo', '.shstrtab'])
  const nameOf = (name: string) => sectionNames.indexOf(`\0${name}\0`) + 1
  const interpreter = strings(parts.interpreter === undefined ? [] : [parts.interpreter])
  const sections = [
    { name: 0, type: 0, link: 0, data: Buffer.alloc(0) },
    { name: nameOf('.dynamic'), type: 6, link: 2, data: dynamic },
    { name: nameOf('.dynstr'), type: 3, link: 0, data: dynstr },
    { name: nameOf('.modinfo'), type: 1, link: 0, data: strings(parts.modinfo ?? []) },
    { name: nameOf('.shstrtab'), type: 3, link: 0, data: sectionNames },
  ]
  const dataAt = HEADER_BYTES + PROGRAM_HEADER_BYTES + sections.length * SECTION_HEADER_BYTES
  const header = Buffer.alloc(dataAt)
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 32)
  header.writeBigUInt64LE(BigInt(HEADER_BYTES + PROGRAM_HEADER_BYTES), 40)
  header.writeUInt16LE(interpreter.length > 0 ? 1 : 0, 56)
  header.writeUInt16LE(sections.length, 60)
  header.writeUInt16LE(sections.length - 1, 62)
  header.writeUInt32LE(3, HEADER_BYTES)
  header.writeBigUInt64LE(BigInt(dataAt), HEADER_BYTES + 8)
  let offset = dataAt + interpreter.length
  for (const [index, section] of sections.entries()) {
    const at = HEADER_BYTES + PROGRAM_HEADER_BYTES + index * SECTION_HEADER_BYTES
    header.writeUInt32LE(section.name, at)
    header.writeUInt32LE(section.type, at + 4)
    header.writeBigUInt64LE(BigInt(offset), at + 24)
    header.writeBigUInt64LE(BigInt(section.data.length), at + 32)
    header.writeUInt32LE(section.link, at + 40)
    offset += section.data.length
  }
  return Buffer.concat([header, interpreter, ...sections.map((section) => section.data)])
}

function strings(values: readonly string[]): Buffer {
  return Buffer.from(values.map((value) => `${value}\0`).join(''))
}
