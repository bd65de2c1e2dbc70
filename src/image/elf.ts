/**
 * Reads from ELF files what decides which other files must lie beside them: the shared libraries and the
 * program interpreter (System V gABI, "Dynamic Section"), and a kernel module's `.modinfo`.
 *
 * Only 64-bit little-endian files, which is what RISC-V Linux uses.
 */
import { ImageError } from './errors.ts'

export interface ElfNeeds {
  /** Path of the program interpreter, or null for libraries and static programs. */
  readonly interpreter: string | null
  /** Names of shared libraries (DT_NEEDED), in the file's order. */
  readonly libraries: readonly string[]
}

const ELF_MAGIC = 0x464c457f
const CLASS_64 = 2
const DATA_LITTLE_ENDIAN = 1
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64
const DYNAMIC_ENTRY_BYTES = 16
const PT_INTERP = 3
const SHT_DYNAMIC = 6
const DT_NEEDED = 1n

export function isElf(data: Uint8Array): boolean {
  return data.length >= 64 && viewOf(data).getUint32(0, true) === ELF_MAGIC
}

/** @throws ImageError `IMAGE_PACKAGE_UNUSABLE` if the file is not a well-formed 64-bit little-endian ELF. */
export function elfNeeds(data: Uint8Array, path: string): ElfNeeds {
  return checked(path, () => {
    const view = elfView(data, path)
    const sections = sectionHeaders(view)
    const libraries: string[] = []
    for (const dynamic of sections.filter((section) => section.type === SHT_DYNAMIC)) {
      const strings = sections[dynamic.link]
      for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += DYNAMIC_ENTRY_BYTES) {
        if (view.getBigUint64(at, true) !== DT_NEEDED) continue
        libraries.push(stringAt(data, strings.offset + offsetAt(view, at + 8)))
      }
    }
    return { interpreter: interpreterOf(view, data), libraries }
  })
}

/**
 * The `key=value` lines that a kernel module says about itself. A key may repeat.
 *
 * @throws ImageError `IMAGE_PACKAGE_UNUSABLE` if this is no kernel module.
 */
export function moduleInfo(
  data: Uint8Array,
  path: string,
): readonly (readonly [key: string, value: string])[] {
  return checked(path, () => {
    const view = elfView(data, path)
    const sections = sectionHeaders(view)
    const names = sections[view.getUint16(62, true)]
    const info = sections.find((section) => stringAt(data, names.offset + section.name) === '.modinfo')
    if (info === undefined) throw unusable(path, 'has no .modinfo section')
    return Buffer.from(data.subarray(info.offset, info.offset + info.size))
      .toString('latin1')
      .split('\0')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
  })
}

interface SectionHeader {
  /** Offset into the section name table. */
  readonly name: number
  readonly type: number
  readonly offset: number
  readonly size: number
  readonly link: number
}

function elfView(data: Uint8Array, path: string): DataView {
  if (!isElf(data)) throw unusable(path, 'is no ELF file')
  if (data[4] !== CLASS_64 || data[5] !== DATA_LITTLE_ENDIAN)
    throw unusable(path, 'is not 64-bit little-endian')
  return viewOf(data)
}

function sectionHeaders(view: DataView): SectionHeader[] {
  const start = offsetAt(view, 40)
  return Array.from({ length: view.getUint16(60, true) }, (_, index) => {
    const at = start + index * SECTION_HEADER_BYTES
    return {
      name: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      offset: offsetAt(view, at + 24),
      size: offsetAt(view, at + 32),
      link: view.getUint32(at + 40, true),
    }
  })
}

function interpreterOf(view: DataView, data: Uint8Array): string | null {
  const start = offsetAt(view, 32)
  const count = view.getUint16(56, true)
  for (let index = 0; index < count; index++) {
    const at = start + index * PROGRAM_HEADER_BYTES
    if (view.getUint32(at, true) === PT_INTERP) return stringAt(data, offsetAt(view, at + 8))
  }
  return null
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength)
}

/** File offsets fit a double; one that does not is past the end anyway and is refused there. */
function offsetAt(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true))
}

function stringAt(data: Uint8Array, offset: number): string {
  const end = data.indexOf(0, offset)
  if (offset >= data.length || end < 0) throw new RangeError(`no string at ${offset}`)
  return Buffer.from(data.subarray(offset, end)).toString('utf8')
}

/** Every read is bounds-checked by DataView; what falls outside is one error, that of a malformed file. */
function checked<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof RangeError || cause instanceof TypeError) {
      throw unusable(path, 'is a malformed ELF file', cause)
    }
    throw cause
  }
}

function unusable(path: string, reason: string, cause?: unknown): ImageError {
  return new ImageError('IMAGE_PACKAGE_UNUSABLE', `${path} ${reason}.`, { cause })
}
