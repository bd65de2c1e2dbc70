/**
 * Simulated time: a queue of what happens when. Two things at the same time happen in the order they were planned,
 * so that a seed fixes everything.
 */
interface Planned {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class Scheduler {
  /** A binary heap, the earliest first. */
  readonly #heap: Planned[] = []
  #nowMs = 0
  #order = 0
  #steps = 0

  /** Simulated time, ms. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** How many planned things have happened. */
  get steps(): number {
    return this.#steps
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run)
  }

  at(atMs: number, run: () => void): void {
    const planned = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run }
    const heap = this.#heap
    let index = heap.length
    heap.push(planned)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!before(planned, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = planned
  }

  /** Lets time pass to `untilMs`. Stops early when `stop` says so after a step. */
  run(untilMs: number, stop: () => boolean): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) {
      const planned = this.#pop()
      this.#nowMs = planned.atMs
      this.#steps++
      planned.run()
      if (stop()) return
    }
    this.#nowMs = untilMs
  }

  #pop(): Planned {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return first
  }
}

function before(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
