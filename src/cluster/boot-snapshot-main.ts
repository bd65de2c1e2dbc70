/** The process that boots an image and saves it: `boot-snapshot-main ORDER`, a BootOrder in JSON. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createMachine } from '../compiler/create.ts'
import { describeError } from '../control/server.ts'
import { GUEST_MAC } from '../net/passt.ts'
import { bootUntilSavable } from '../snapshot/boot.ts'
import { SnapshotError } from '../snapshot/errors.ts'
import { writeSnapshot } from '../snapshot/file.ts'
import { saveMachine } from '../snapshot/writer.ts'
import type { BootOrder } from './boot-snapshot.ts'

const RNG_SEED_BYTES = 48
const NANOSECONDS_PER_MS = 1_000_000n

function makeSnapshot(order: BootOrder): void {
  const machine = createMachine({
    memoryBytes: order.memoryBytes,
    boot: {
      kind: 'linux',
      kernel: readFileSync(order.kernel),
      initrd: readFileSync(order.initrd),
      append: order.append,
    },
    nics: [{ mac: GUEST_MAC }],
    disks: [],
    rngSeed: randomBytes(RNG_SEED_BYTES),
    epochNs: BigInt(Date.now()) * NANOSECONDS_PER_MS,
  })
  if (!bootUntilSavable(machine, randomBytes)) {
    throw new SnapshotError(
      'SNAPSHOT_BOOT_FAILED',
      `The guest did not say that it can be saved; it stands at ${machine.retired} instructions.`,
    )
  }
  try {
    // As it is: it is read far more often than written, from the page cache.
    writeSnapshot(order.file, saveMachine(machine, { program: 'understudy run', compress: false }))
  } catch (error) {
    // Another process was faster: its snapshot is as good.
    if (!(error instanceof SnapshotError) || error.code !== 'SNAPSHOT_EXISTS') throw error
  }
}

try {
  makeSnapshot(JSON.parse(process.argv[2] ?? '') as BootOrder)
} catch (error) {
  const { code, message, next } = describeError(error)
  process.stderr.write(`error ${code}: ${message}\nnext: ${next}\n`)
  process.exitCode = 1
}
