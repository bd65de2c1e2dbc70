import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

const COMMAND = join(import.meta.dirname, '../bin/understudy.mjs')

export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running `understudy machine …`, as a shell has it: bytes in, bytes out, a status at the end. */
export class MachineProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #ended: Promise<Ended>
  #stdout = ''
  #stderr = ''
  #changed: () => void = () => undefined

  constructor(...args: readonly string[]) {
    this.#child = spawn(process.execPath, [COMMAND, 'machine', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#stdout += text
      this.#changed()
    })
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    // It may end before it has read everything.
    this.#child.stdin.on('error', () => undefined)
    this.#ended = once(this.#child, 'close').then(([status, signal]) => {
      const ended = { status, signal, stdout: this.#stdout, stderr: this.#stderr }
      this.#changed()
      return ended
    })
  }

  type(text: string): void {
    this.#child.stdin.write(text)
  }

  closeInput(): void {
    this.#child.stdin.end()
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Resolves when `text` appears on the console behind `from`, with the length of the console up to its end. */
  async console(text: string, from = 0): Promise<number> {
    for (;;) {
      const at = this.#stdout.indexOf(text, from)
      if (at >= 0) return at + text.length
      const changed = new Promise<void>((resolve) => {
        this.#changed = resolve
      })
      const ended = await Promise.race([changed, this.#ended])
      if (ended !== undefined && !this.#stdout.includes(text, from)) {
        throw new Error(`the machine ended without ${JSON.stringify(text)}: ${JSON.stringify(ended)}`)
      }
    }
  }

  /** Resolves when it has ended and everything it wrote was read. */
  ended(): Promise<Ended> {
    return this.#ended
  }
}

export interface DigestLine {
  readonly digest: string
  readonly retired: number
}

/** What `--digest` printed. Throws if there is not exactly one such line. */
export function digestLine(ended: Ended): DigestLine {
  const lines = ended.stderr.split('\n').filter((line) => line.startsWith('{'))
  if (lines.length !== 1) throw new Error(`no single line of digest: ${JSON.stringify(ended)}`)
  const { digest, retired } = JSON.parse(lines[0]) as DigestLine
  if (!/^[0-9a-f]{16}$/.test(digest) || !Number.isSafeInteger(retired)) throw new Error(lines[0])
  return { digest, retired }
}
