/**
 * Which pages of RAM were written. The core keeps one flag a page and sees only the first write after the flag was
 * cleared, so there is one reader of the flags, and everybody who wants to know has a share of what it finds.
 */
import type { Core } from './cpu/core.ts'

export class DirtyPages {
  readonly #core: Core
  readonly #flags: Uint32Array
  readonly #followers = new Set<Uint32Array>()

  constructor(core: Core) {
    this.#core = core
    this.#flags = new Uint32Array(core.memory.buffer, core.layout.dirty, core.layout.pageCount / 4)
  }

  /** Follows writes from now on. */
  follow(): DirtyFollower {
    const pending = new Uint32Array(this.#flags.length)
    this.collect()
    this.#followers.add(pending)
    return new DirtyFollower(this, pending)
  }

  /** Hands the flags out and clears them, so that the next write to each page is seen again. Not while the machine runs. */
  collect(): void {
    let found = false
    for (let word = 0; word < this.#flags.length; word++) {
      const flags = this.#flags[word]
      if (flags === 0) continue
      found = true
      this.#flags[word] = 0
      for (const pending of this.#followers) pending[word] |= flags
    }
    if (found) this.#core.exports.flushFastWrites()
  }
}

/** What one who wants to know has not been told yet. */
export class DirtyFollower {
  readonly #all: DirtyPages
  readonly #pending: Uint32Array

  constructor(all: DirtyPages, pending: Uint32Array) {
    this.#all = all
    this.#pending = pending
  }

  /** Numbers of the pages written since the last call, ascending. Not while the machine runs. */
  take(): number[] {
    this.#all.collect()
    const pages: number[] = []
    for (let word = 0; word < this.#pending.length; word++) {
      const flags = this.#pending[word]
      if (flags === 0) continue
      this.#pending[word] = 0
      for (let i = 0; i < 4; i++) if ((flags >>> (8 * i)) & 1) pages.push(4 * word + i)
    }
    return pages
  }
}
