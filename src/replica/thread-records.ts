/**
 * Commands and reports as records of the rings. What comes often and is long goes as it is, behind a few fields: V8's
 * serialisation would copy each into a buffer of its own that is dropped at once, and V8 collects its whole heap after some
 * tens of megabytes of those, which stops the thread that runs the guest for tens of milliseconds. All else is in V8's
 * serialisation; both ends are this very process, so nothing is checked again.
 */
import { deserialize, serialize } from 'node:v8'
import type { MachineOutput } from '../machine/io.ts'
import type { CpuCommand, CpuReport } from './thread-messages.ts'

/** No record of V8's begins with these: those have 0xff. */
const TAG = { netInput: 1, logFrame: 2, cloneState: 3, clonePiece: 4, recorded: 5 } as const
/** The tag, and fields from the eighth byte on, aligned. */
const HEADER_BYTES = 32
const FIELDS = 8

const header = new Uint8Array(HEADER_BYTES)
const view = new DataView(header.buffer)

function tagged(tag: number): void {
  header.fill(0)
  header[0] = tag
}

/** Parts of one record; valid until the next call in this thread. */
export function commandParts(command: CpuCommand): readonly Uint8Array[] {
  if (command.kind === 'input' && command.input.kind === 'net-rx') {
    tagged(TAG.netInput)
    view.setUint32(FIELDS, command.input.nic, true)
    return [header, command.input.frame]
  }
  if (command.kind === 'frame') {
    tagged(TAG.logFrame)
    view.setFloat64(FIELDS, command.arrivedMs, true)
    return [header, command.bytes]
  }
  if (command.kind === 'clone-state') {
    tagged(TAG.cloneState)
    return [header, command.bytes]
  }
  return [serialize(command)]
}

/** Its bytes are those of the record. */
export function decodeCommand(record: Uint8Array): CpuCommand {
  const fields = new DataView(record.buffer, record.byteOffset)
  switch (record[0]) {
    case TAG.netInput: {
      const nic = fields.getUint32(FIELDS, true)
      return { kind: 'input', input: { kind: 'net-rx', nic, frame: record.subarray(HEADER_BYTES) } }
    }
    case TAG.logFrame: {
      const arrivedMs = fields.getFloat64(FIELDS, true)
      return { kind: 'frame', bytes: record.subarray(HEADER_BYTES), arrivedMs }
    }
    case TAG.cloneState:
      return { kind: 'clone-state', bytes: record.subarray(HEADER_BYTES) }
    default:
      return deserialize(record) as CpuCommand
  }
}

/** Parts of one record; valid until the next call in this thread. */
export function reportParts(report: CpuReport): readonly Uint8Array[] {
  if (report.kind === 'clone-piece') {
    tagged(TAG.clonePiece)
    view.setUint32(FIELDS, report.pages, true)
    view.setUint32(FIELDS + 4, report.pagesLeft, true)
    view.setFloat64(FIELDS + 8, report.stopMs, true)
    return [header, report.bytes]
  }
  if (report.kind === 'recorded') {
    tagged(TAG.recorded)
    view.setUint32(1, report.bytes.length, true)
    view.setFloat64(FIELDS, report.sequence, true)
    view.setFloat64(FIELDS + 8, report.workMs, true)
    view.setUint32(FIELDS + 16, report.framesTaken, true)
    return report.outputs.length === 0
      ? [header, report.bytes]
      : [header, report.bytes, serialize(report.outputs)]
  }
  return [serialize(report)]
}

/** Its bytes are those of the record. */
export function decodeReport(record: Uint8Array): CpuReport {
  const fields = new DataView(record.buffer, record.byteOffset)
  if (record[0] === TAG.clonePiece) {
    return {
      kind: 'clone-piece',
      bytes: record.subarray(HEADER_BYTES),
      pages: fields.getUint32(FIELDS, true),
      pagesLeft: fields.getUint32(FIELDS + 4, true),
      stopMs: fields.getFloat64(FIELDS + 8, true),
    }
  }
  if (record[0] !== TAG.recorded) return deserialize(record) as CpuReport
  const outputsAt = HEADER_BYTES + fields.getUint32(1, true)
  return {
    kind: 'recorded',
    sequence: fields.getFloat64(FIELDS, true),
    bytes: record.subarray(HEADER_BYTES, outputsAt),
    outputs:
      outputsAt === record.length
        ? []
        : (deserialize(record.subarray(outputsAt)) as readonly MachineOutput[]),
    framesTaken: fields.getUint32(FIELDS + 16, true),
    workMs: fields.getFloat64(FIELDS + 8, true),
  }
}
