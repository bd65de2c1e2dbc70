import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { PolledWatch } from './polled-watch.ts'

const INTERVAL_MS = 1_000

/** What is looked at: a text, or null while it is unreachable. A look takes 10 ms. */
class Part {
  text: string | null = 'a'
  looks = 0
  closed = false

  look(): Promise<string> {
    this.looks++
    const seen = this.text
    return new Promise((resolve, reject) => {
      setTimeout(() => (seen === null ? reject(new Error('unreachable')) : resolve(seen)), 10)
    })
  }

  close(): void {
    this.closed = true
  }
}

describe('a polled watch', () => {
  let part: Part
  let onChange: ReturnType<typeof vi.fn<() => void>>
  let watch: PolledWatch
  beforeEach(async () => {
    vi.useFakeTimers()
    part = new Part()
    onChange = vi.fn<() => void>()
    watch = new PolledWatch(part, INTERVAL_MS, onChange)
    await vi.advanceTimersByTimeAsync(20)
    expect(onChange).toHaveBeenCalledTimes(1)
  })
  afterEach(() => {
    watch.close()
    vi.useRealTimers()
  })

  it('tells of a change once, and of no look that saw none', async () => {
    await vi.advanceTimersByTimeAsync(5 * INTERVAL_MS)
    expect(part.looks).toBeGreaterThanOrEqual(5)
    expect(onChange).toHaveBeenCalledTimes(1)
    part.text = 'b'
    await vi.advanceTimersByTimeAsync(5 * INTERVAL_MS)
    expect(onChange).toHaveBeenCalledTimes(2)
  })

  it('looks at once on a hint, and once more for all that come during a look', async () => {
    const before = part.looks
    watch.hint()
    await vi.advanceTimersByTimeAsync(1)
    expect(part.looks).toBe(before + 1)
    part.text = 'b'
    for (let i = 0; i < 9; i++) watch.hint()
    await vi.advanceTimersByTimeAsync(100)
    expect(part.looks).toBe(before + 2)
    expect(onChange).toHaveBeenCalledTimes(2)
  })

  it('tells when it can see again, even if all is as it was', async () => {
    part.text = null
    await vi.advanceTimersByTimeAsync(3 * INTERVAL_MS)
    expect(onChange).toHaveBeenCalledTimes(1)
    part.text = 'a'
    await vi.advanceTimersByTimeAsync(3 * INTERVAL_MS)
    expect(onChange).toHaveBeenCalledTimes(2)
  })

  it('tells nothing once closed, also of a look under way', async () => {
    part.text = 'b'
    watch.hint()
    await vi.advanceTimersByTimeAsync(1)
    watch.close()
    const before = part.looks
    watch.hint()
    await vi.advanceTimersByTimeAsync(5 * INTERVAL_MS)
    expect(part.looks).toBe(before)
    expect(onChange).toHaveBeenCalledTimes(1)
    expect(part.closed).toBe(true)
  })
})
