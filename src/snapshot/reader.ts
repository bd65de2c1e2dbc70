/**
 * Restores a machine. Nothing in a snapshot is believed: lengths are checked before anything is allocated, checksums
 * before anything is unpacked, and at the end the digest of the whole machine says whether it is the one that was
 * saved.
 */
import { crc32, zstdDecompressSync } from 'node:zlib'
import type { DeviceState } from '../machine/devices/device.ts'
import { DeviceStateError } from '../machine/devices/state.ts'
import type { SavableMachine } from '../machine/machine.ts'
import { SnapshotError } from './errors.ts'
import {
  CRC_BYTES,
  decodeRecordHeader,
  HEADER_BYTES_MAX,
  MAGIC,
  PREFIX_BYTES,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  SNAPSHOT_VERSION,
} from './format.ts'
import { decodeHeader, type SnapshotConfig } from './header.ts'
import { decodeState } from './state-text.ts'
import { runsOf } from './writer.ts'

/** Where a snapshot comes from, read in order. */
export interface SnapshotSource {
  /** Fills the buffers one after the other and says how many bytes there were: fewer than asked for only at the end. */
  readInto(buffers: readonly Uint8Array[]): number
}

export class SnapshotReader {
  /** The configuration of a machine that this snapshot can be restored into. */
  readonly config: SnapshotConfig
  readonly #source: SnapshotSource

  /** Reads as far as the header. Throws a SnapshotError. */
  constructor(source: SnapshotSource) {
    this.#source = source
    const prefix = this.#take(PREFIX_BYTES, 'SNAPSHOT_NOT_A_SNAPSHOT')
    if (MAGIC.some((byte, index) => byte !== prefix[index])) {
      throw new SnapshotError('SNAPSHOT_NOT_A_SNAPSHOT', 'The bytes do not begin as a snapshot does.')
    }
    const view = new DataView(prefix.buffer)
    const version = view.getUint16(MAGIC.length, true)
    if (version !== SNAPSHOT_VERSION) {
      throw new SnapshotError(
        'SNAPSHOT_VERSION',
        `The snapshot is of version ${version}, not ${SNAPSHOT_VERSION}.`,
      )
    }
    const length = view.getUint32(MAGIC.length + 2, true)
    if (length > HEADER_BYTES_MAX) {
      throw new SnapshotError('SNAPSHOT_CORRUPT', `A header of ${length} bytes is over the limit.`)
    }
    const json = this.#take(length)
    const crc = new DataView(this.#take(CRC_BYTES).buffer).getUint32(0, true)
    if (crc !== crc32(json, crc32(prefix))) {
      throw new SnapshotError('SNAPSHOT_CORRUPT', 'The checksum of the header does not match.')
    }
    this.config = decodeHeader(json)
  }

  /**
   * Fills a machine that was made from `config`, or from one with other MAC addresses, epoch or seed. Throws a
   * SnapshotError; then the machine may only be thrown away.
   */
  restore(machine: SavableMachine): void {
    const { memoryBytes } = this.config
    if (machine.pages.count * machine.pages.pageBytes !== memoryBytes) {
      throw new SnapshotError(
        'SNAPSHOT_MISMATCH',
        `The snapshot is of a machine with ${memoryBytes} bytes of RAM.`,
      )
    }
    let state: DeviceState | null = null
    let { digest } = this.config.boot
    for (let records = 0; ; records++) {
      const header = decodeRecordHeader(this.#take(RECORD_HEADER_BYTES), machine.pages.pageBytes)
      if (header.kind === 'end') {
        if (header.count !== records) throw corrupt(`it is of ${header.count} records, ${records} are there`)
        break
      }
      if (header.kind === 'digest') {
        if (digest !== 0n) throw new SnapshotError('SNAPSHOT_MALFORMED', 'There are two digests.')
        digest = new DataView(this.#payload(header).slice().buffer).getBigUint64(0, true)
        continue
      }
      if (state !== null) throw new SnapshotError('SNAPSHOT_MALFORMED', 'A record follows the state.')
      if (header.kind === 'pages') this.#pages(machine, header)
      else state = decodeState(this.#payload(header))
    }
    if (state === null) throw new SnapshotError('SNAPSHOT_MALFORMED', 'The state of the machine is missing.')
    try {
      machine.restoreState(state)
    } catch (error) {
      if (!(error instanceof DeviceStateError)) throw error
      throw new SnapshotError('SNAPSHOT_MISMATCH', error.message, { cause: error })
    }
    this.#verify(machine, digest)
  }

  #verify(machine: SavableMachine, digest: bigint): void {
    const { retired } = this.config.boot
    if (machine.retired !== retired) throw corrupt(`it retired ${machine.retired}, not ${retired}`)
    const restored = machine.fullDigest()
    if (restored !== digest) {
      throw corrupt(`the digest is ${restored.toString(16)}, not ${digest.toString(16)}`)
    }
  }

  #pages(machine: SavableMachine, header: RecordHeader): void {
    const list = this.#take(header.count * 4)
    const pages = new Uint32Array(header.count)
    const view = new DataView(list.buffer)
    for (let index = 0; index < pages.length; index++) {
      pages[index] = view.getUint32(index * 4, true)
      if (pages[index] >= machine.pages.count || (index > 0 && pages[index] <= pages[index - 1])) {
        throw corrupt(`page ${pages[index]} is out of place`)
      }
    }
    const targets = runsOf(pages).map(({ first, count }) => machine.pages.fill(first, count))
    if (!header.packed) {
      this.#fill(targets)
      if (checksum([list, ...targets]) !== header.crc) throw corrupt('the checksum of pages does not match')
      return
    }
    const bytes = this.#payload(header, list)
    let offset = 0
    for (const target of targets) {
      target.set(bytes.subarray(offset, offset + target.length))
      offset += target.length
    }
  }

  /** The payload of a record whose page list was read already. */
  #payload(header: RecordHeader, ...before: Uint8Array[]): Uint8Array {
    const stored = this.#take(header.storedBytes)
    if (checksum([...before, stored]) !== header.crc) throw corrupt('the checksum of a record does not match')
    if (!header.packed) return stored
    let bytes: Uint8Array
    try {
      bytes = zstdDecompressSync(stored, { maxOutputLength: header.lengthBytes })
    } catch (cause) {
      throw new SnapshotError('SNAPSHOT_MALFORMED', 'A record does not unpack.', { cause })
    }
    if (bytes.length === header.lengthBytes) return bytes
    throw new SnapshotError('SNAPSHOT_MALFORMED', `A record unpacks to ${bytes.length} bytes.`)
  }

  #take(length: number, orElse: 'SNAPSHOT_TRUNCATED' | 'SNAPSHOT_NOT_A_SNAPSHOT' = 'SNAPSHOT_TRUNCATED') {
    const bytes = new Uint8Array(length)
    this.#fill([bytes], orElse)
    return bytes
  }

  #fill(
    buffers: readonly Uint8Array[],
    orElse: 'SNAPSHOT_TRUNCATED' | 'SNAPSHOT_NOT_A_SNAPSHOT' = 'SNAPSHOT_TRUNCATED',
  ): void {
    const wanted = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    if (this.#source.readInto(buffers) < wanted) {
      throw new SnapshotError(orElse, 'The bytes end before the snapshot does.')
    }
  }
}

function checksum(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((crc, piece) => crc32(piece, crc), 0)
}

function corrupt(detail: string): SnapshotError {
  return new SnapshotError('SNAPSHOT_CORRUPT', `The snapshot is not what was saved: ${detail}.`)
}
