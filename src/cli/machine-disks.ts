import type { MachineInput, MachineOutput } from '../machine/io.ts'
import type { RawDisk } from '../storage/raw-disk.ts'

export type DiskOutput = Extract<MachineOutput, { kind: 'disk-read' | 'disk-write' | 'disk-flush' }>

const NO_DATA = new Uint8Array(0)

/** Does what the guest asked of a disk. What fails is the guest's to handle: it gets `ok: false`, as from a real disk. */
export async function serveDisk(
  disks: readonly RawDisk[],
  request: DiskOutput,
  failed: (error: unknown) => void,
): Promise<MachineInput> {
  const { disk, id } = request
  try {
    const data = await perform(disks[disk], request)
    return { kind: 'disk-complete', disk, id, ok: true, data }
  } catch (error) {
    failed(error)
    return { kind: 'disk-complete', disk, id, ok: false, data: NO_DATA }
  }
}

async function perform(disk: RawDisk, request: DiskOutput): Promise<Uint8Array> {
  switch (request.kind) {
    case 'disk-read':
      return disk.read(request.offset, request.length)
    case 'disk-write':
      await disk.write(request.offset, request.data)
      return NO_DATA
    case 'disk-flush':
      await disk.flush()
      return NO_DATA
  }
}
