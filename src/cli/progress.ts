/** What a move of a virtual machine looks like while it takes its time: one line, rewritten in place on a terminal. */
import type { VmStatus } from '../cluster/vm-status.ts'

const BAR_CHARS = 24
const MIB = 1024 * 1024

export class ProgressLine {
  readonly #isTerminal = process.stderr.isTTY === true
  #last = ''

  /** Shows how a clone gets on; only what is new where the output is no terminal. */
  show(status: VmStatus): void {
    const text = describeMove(status)
    if (text === null || text === this.#last) return
    if (this.#isTerminal) process.stderr.write(`\r\x1b[2K${text}`)
    else if (words(text) !== words(this.#last)) process.stderr.write(`${text}\n`)
    this.#last = text
  }

  /** Leaves the terminal as it was. */
  end(): void {
    if (this.#isTerminal && this.#last !== '') process.stderr.write('\r\x1b[2K')
  }
}

/** Null when there is nothing under way. */
export function describeMove({ name, clone }: Pick<VmStatus, 'name' | 'clone'>): string | null {
  if (clone === null) return null
  const { host, phase, pages, pagesLeft, sentBytes, elapsedMs } = clone
  const share = pages === 0 ? 0 : 1 - pagesLeft / pages
  const filled = Math.round(share * BAR_CHARS)
  const bar = '#'.repeat(filled).padEnd(BAR_CHARS, '.')
  const sent = `${Math.round(sentBytes / MIB)} MiB in ${(elapsedMs / 1000).toFixed(1)} s`
  return `${name}: ${phase} to ${host} [${bar}] ${Math.floor(share * 100)} %, ${sent}`
}

/** What does not change from one look to the next. */
function words(text: string): string {
  return text.split('[')[0]
}
