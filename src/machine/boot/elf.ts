/**
 * Loading a bare-metal program: an ELF64 executable for little-endian RISC-V (System V gABI, chapters 4 and 5; RISC-V
 * psABI). It is loaded by physical addresses, and ends by writing the HTIF word at its symbol `tohost`.
 */
import { UnderstudyError } from '../../errors.ts'
import type { GuestMemory } from '../devices/device.ts'

export type ElfErrorCode = 'ELF_NOT_RISCV' | 'ELF_TRUNCATED' | 'ELF_OUTSIDE_MEMORY'

const NEXT: Record<ElfErrorCode, string> = {
  ELF_NOT_RISCV: 'Give a statically linked ELF64 executable for riscv64.',
  ELF_TRUNCATED: 'Copy or build the file again: it is damaged.',
  ELF_OUTSIDE_MEMORY:
    'Link the program into RAM, which begins at 0x80000000, or give the machine more memory.',
}

export class ElfError extends UnderstudyError {
  constructor(code: ElfErrorCode, message: string) {
    super(code, message, NEXT[code])
  }
}

export interface ElfSegment {
  readonly address: bigint
  /** What the file holds; the rest of the segment, up to `memoryBytes`, is zero. */
  readonly data: Uint8Array
  readonly memoryBytes: bigint
}

export interface ElfProgram {
  readonly entry: bigint
  readonly segments: readonly ElfSegment[]
  /** Address of the symbol `tohost`, or null if the program has none. */
  readonly tohost: bigint | null
}

/** Real programs have a handful; the format allows no more than this by itself. */
const PROGRAM_HEADERS_MAX = 0xffff

const HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64
const SYMBOL_BYTES = 24
const MAGIC = 0x7f45_4c46
const CLASS_64 = 2
const DATA_LITTLE_ENDIAN = 1
const TYPE_EXECUTABLE = 2
const MACHINE_RISCV = 243
const PT_LOAD = 1
const SHT_SYMTAB = 2

/** Takes the file apart. The segments are views of `file`. Throws ElfError. */
export function readElf(file: Uint8Array): ElfProgram {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (file.length < HEADER_BYTES || view.getUint32(0) !== MAGIC)
    throw new ElfError('ELF_NOT_RISCV', 'The file is no ELF file.')
  if (file[4] !== CLASS_64 || file[5] !== DATA_LITTLE_ENDIAN || view.getUint16(18, true) !== MACHINE_RISCV)
    throw new ElfError('ELF_NOT_RISCV', 'The ELF file is not for little-endian RISC-V of 64 bits.')
  if (view.getUint16(16, true) !== TYPE_EXECUTABLE)
    throw new ElfError('ELF_NOT_RISCV', 'The ELF file is no executable linked to fixed addresses.')
  const segments = readSegments(file, view)
  if (segments.length === 0) throw new ElfError('ELF_NOT_RISCV', 'The ELF file has nothing to load.')
  return { entry: view.getBigUint64(24, true), segments, tohost: findSymbol(file, view, 'tohost') }
}

/** Loads the program into freshly zeroed RAM. Throws ElfError with ELF_OUTSIDE_MEMORY before anything is written. */
export function loadElf(memory: GuestMemory, program: ElfProgram): void {
  for (const { address, memoryBytes } of program.segments) {
    if (!memory.contains(Number(address), Number(memoryBytes)))
      throw new ElfError(
        'ELF_OUTSIDE_MEMORY',
        `A segment of ${memoryBytes} bytes at 0x${address.toString(16)} does not lie in the guest's memory.`,
      )
  }
  if (!memory.contains(Number(program.entry), 2))
    throw new ElfError(
      'ELF_OUTSIDE_MEMORY',
      `The entry 0x${program.entry.toString(16)} does not lie in the guest's memory.`,
    )
  if (program.tohost !== null && !memory.contains(Number(program.tohost), 8))
    throw new ElfError(
      'ELF_OUTSIDE_MEMORY',
      `The symbol tohost is at 0x${program.tohost.toString(16)}, not in the guest's memory.`,
    )
  for (const { address, data } of program.segments) if (data.length > 0) memory.write(Number(address), data)
}

/** A part of the file, checked to be there. Offsets come as 64-bit numbers from the file, so they may be anything. */
function slice(file: Uint8Array, offset: bigint, length: bigint, what: string): Uint8Array {
  if (offset + length > BigInt(file.length))
    throw new ElfError('ELF_TRUNCATED', `The ELF file ends before its ${what}.`)
  return file.subarray(Number(offset), Number(offset + length))
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function readSegments(file: Uint8Array, header: DataView): ElfSegment[] {
  const offset = header.getBigUint64(32, true)
  const entryBytes = header.getUint16(54, true)
  const count = Math.min(header.getUint16(56, true), PROGRAM_HEADERS_MAX)
  if (count > 0 && entryBytes < PROGRAM_HEADER_BYTES)
    throw new ElfError('ELF_TRUNCATED', 'The program headers of the ELF file are too short.')
  const segments: ElfSegment[] = []
  for (let index = 0; index < count; index++) {
    const at = offset + BigInt(index * entryBytes)
    const view = viewOf(slice(file, at, BigInt(PROGRAM_HEADER_BYTES), 'program headers'))
    const memoryBytes = view.getBigUint64(40, true)
    if (view.getUint32(0, true) !== PT_LOAD || memoryBytes === 0n) continue
    const fileBytes = view.getBigUint64(32, true)
    if (fileBytes > memoryBytes)
      throw new ElfError('ELF_TRUNCATED', 'A segment of the ELF file is longer than its memory.')
    const data = slice(file, view.getBigUint64(8, true), fileBytes, 'segments')
    segments.push({ address: view.getBigUint64(24, true), data, memoryBytes })
  }
  return segments
}

/** Looks through the symbol tables; a stripped file has none. */
function findSymbol(file: Uint8Array, header: DataView, name: string): bigint | null {
  const offset = header.getBigUint64(40, true)
  const entryBytes = header.getUint16(58, true)
  const count = header.getUint16(60, true)
  if (offset === 0n || count === 0) return null
  if (entryBytes < SECTION_HEADER_BYTES)
    throw new ElfError('ELF_TRUNCATED', 'The section headers of the ELF file are too short.')
  const section = (index: number): DataView =>
    viewOf(slice(file, offset + BigInt(index * entryBytes), BigInt(SECTION_HEADER_BYTES), 'section headers'))
  const contents = (view: DataView, what: string): Uint8Array =>
    slice(file, view.getBigUint64(24, true), view.getBigUint64(32, true), what)
  const wanted = new TextEncoder().encode(`${name}\0`)
  for (let index = 0; index < count; index++) {
    const table = section(index)
    if (table.getUint32(4, true) !== SHT_SYMTAB) continue
    const stringsIndex = table.getUint32(40, true)
    if (stringsIndex >= count)
      throw new ElfError('ELF_TRUNCATED', 'The symbols of the ELF file have no names.')
    const strings = contents(section(stringsIndex), 'symbol names')
    const symbols = contents(table, 'symbols')
    const view = viewOf(symbols)
    for (let at = 0; at + SYMBOL_BYTES <= symbols.length; at += SYMBOL_BYTES) {
      const nameOffset = view.getUint32(at, true)
      if (wanted.every((byte, position) => strings[nameOffset + position] === byte))
        return view.getBigUint64(at + 8, true)
    }
  }
  return null
}
