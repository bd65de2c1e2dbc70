/**
 * Keeps what a backup was sent in a log file, from its start, so that a divergence can be replayed and found. When the
 * replica ends well, or goes live, the file has served its purpose and is removed. A log that starts at a snapshot is kept
 * together with it.
 */
import { copyFileSync, createWriteStream, linkSync, rmSync, type WriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { MachineConfig } from '../machine/config.ts'
import { encodeLogStart } from '../replay/log-file.ts'

/** A day of a busy guest's log. A longer one is cut here and shows only divergences up to there. */
const LOG_FILE_BYTES_MAX = 4 * 1024 * 1024 * 1024

/** A disk this far behind the log is too slow to keep it; the guest must not wait for it. */
const UNWRITTEN_BYTES_MAX = 64 * 1024 * 1024

const PROGRAM = 'understudy backup'

export class LogKeeper {
  readonly #path: string
  readonly #snapshot: string | null
  readonly #stream: WriteStream
  #bytes = 0
  #whole = true
  #kept = false

  private constructor(path: string, snapshot: string | null) {
    this.#path = path
    this.#snapshot = snapshot
    this.#stream = createWriteStream(path, { mode: 0o600 })
    // A full disk ends the keeping, not the replica.
    this.#stream.on('error', () => {
      this.#whole = false
    })
  }

  /** `snapshot`: the file that `config` goes on from, or null. */
  static async begin(path: string, config: MachineConfig, snapshot: string | null): Promise<LogKeeper> {
    const keeper = new LogKeeper(path, snapshot)
    for (const piece of encodeLogStart(config, PROGRAM)) keeper.append(piece)
    return keeper
  }

  append(bytes: Uint8Array): void {
    if (!this.#whole) return
    this.#bytes += bytes.length
    if (this.#bytes > LOG_FILE_BYTES_MAX || this.#stream.writableLength > UNWRITTEN_BYTES_MAX) {
      this.#whole = false
      return
    }
    this.#stream.write(bytes)
  }

  /** The log shows a fault: it stays. */
  keep(): void {
    this.#kept = true
    if (this.#snapshot !== null) bringAlong(this.#snapshot, snapshotBeside(this.#path))
  }

  discard(): void {
    if (this.#kept) return
    this.#whole = false
    this.#stream.destroy()
    void rm(this.#path, { force: true })
  }

  /** Resolves when what was appended is in the file. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#stream.end(() => resolve()))
  }
}

/** Where the snapshot lies that a log starts at, when both were kept together. */
export function snapshotBeside(log: string): string {
  return `${log}.snapshot`
}

/** As a second name, which outlives the first one; as a copy where the file systems differ. */
function bringAlong(from: string, to: string): void {
  rmSync(to, { force: true })
  try {
    linkSync(from, to)
  } catch {
    copyFileSync(from, to)
  }
}
