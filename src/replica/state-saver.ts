/** Writes the state of a live machine, as of one moment, into a snapshot file while the machine goes on. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { z } from 'zod'
import { SnapshotError } from '../snapshot/errors.ts'
import type { Cpu } from './cpu.ts'
import { type CopyReport, monotonicMs } from './thread-messages.ts'

/** On their way between the CPU thread and the disk. */
const WINDOW_PAGES = 2048

export const savedStateSchema = z.object({
  path: z.string(),
  bytes: z.int(),
  durationMs: z.number(),
  /** The machine stood still for so long at once, at most. */
  stopMsMax: z.number(),
})

export type SavedState = z.infer<typeof savedStateSchema>

export class StateSaver {
  /** Resolves when the file is whole and on disk; rejects with SNAPSHOT_UNWRITABLE. */
  readonly saved: Promise<SavedState>
  readonly #path: string
  readonly #cpu: Cpu
  readonly #sinceMs = monotonicMs()
  readonly #result = Promise.withResolvers<SavedState>()
  readonly #file: Promise<FileHandle>
  #written: Promise<void>
  #bytes = 0
  #stopMsMax = 0
  #hasEnded = false

  /** A file that is there already is replaced, once the new one is whole. */
  constructor(path: string, cpu: Cpu) {
    this.#path = path
    this.#cpu = cpu
    this.saved = this.#result.promise
    this.#file = open(this.#temporary, 'w', 0o600)
    this.#written = this.#file.then(() => cpu.send({ kind: 'clone' }))
    this.#written.catch((error: Error) => this.#fail(error))
  }

  get #temporary(): string {
    return `${this.#path}.${process.pid}.new`
  }

  reported(report: CopyReport): void {
    if (report.kind === 'clone-refused') {
      this.#fail(new Error(report.message))
      return
    }
    this.#stopMsMax = Math.max(this.#stopMsMax, report.stopMs)
    if (report.kind === 'clone-begun') {
      this.#cpu.send({ kind: 'clone-credit', pages: WINDOW_PAGES })
      return
    }
    const { bytes, pages, pagesLeft } = report
    this.#written = this.#written.then(() => this.#write(bytes, pages, pagesLeft === 0))
    this.#written.catch((error: Error) => this.#fail(error))
  }

  cancel(): void {
    this.#fail(new Error('the machine has ended'))
  }

  async #write(bytes: Uint8Array, pages: number, isLast: boolean): Promise<void> {
    if (this.#hasEnded) return
    const file = await this.#file
    await file.writeFile(bytes)
    this.#bytes += bytes.length
    this.#cpu.send({ kind: 'clone-credit', pages })
    if (!isLast) return
    await file.sync()
    await file.close()
    await rename(this.#temporary, this.#path)
    this.#hasEnded = true
    const durationMs = monotonicMs() - this.#sinceMs
    this.#result.resolve({ path: this.#path, bytes: this.#bytes, durationMs, stopMsMax: this.#stopMsMax })
  }

  #fail(error: Error): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#cpu.send({ kind: 'clone-cancel' })
    void this.#file.then((file) => file.close()).catch(() => {})
    void rm(this.#temporary, { force: true })
    this.#result.reject(
      new SnapshotError('SNAPSHOT_UNWRITABLE', `${this.#path}: ${error.message}.`, { cause: error }),
    )
  }
}
