import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EtcdWatch, type WatchStreams } from './etcd-watch.ts'

describe('the watch of etcd', () => {
  /** The streams that were begun, and what their client was told. */
  let streams: { data: () => void; end: () => void; ended: boolean }[]
  let passedOver: number
  const hint = vi.fn<() => void>()
  let watch: EtcdWatch
  beforeEach(() => {
    vi.useFakeTimers()
    streams = []
    passedOver = 0
    hint.mockClear()
    const client: WatchStreams = {
      stream(_path, _body, onData, onEnd) {
        const stream = { data: () => onData(Buffer.from('{}')), end: () => {}, ended: false }
        stream.end = () => {
          if (stream.ended) return
          stream.ended = true
          onEnd()
        }
        streams.push(stream)
        return stream.end
      },
      passOver: () => {
        passedOver++
      },
    }
    watch = new EtcdWatch(client, { key: '' }, async () => '', hint)
    watch.looked(true, false)
  })
  afterEach(() => {
    watch.close()
    vi.useRealTimers()
  })

  it('hints at whatever the stream brings', () => {
    expect(hint).not.toHaveBeenCalled()
    streams[0]!.data()
    expect(hint).toHaveBeenCalledTimes(1)
  })

  it('begins a stream anew that ended, and not at once', () => {
    streams[0]!.end()
    expect(streams.length).toBe(1)
    vi.advanceTimersByTime(10_000)
    expect(streams.length).toBe(2)
  })

  it('leaves a stream for another endpoint if it kept silent about a change, and only then', () => {
    watch.looked(false, false)
    watch.looked(true, true)
    watch.looked(false, true)
    expect(streams[0]!.ended).toBe(false)
    watch.looked(true, false)
    expect(streams[0]!.ended).toBe(true)
    expect(passedOver).toBe(1)
    vi.advanceTimersByTime(10_000)
    expect(streams.length).toBe(2)
  })

  it('ends with its stream, for good', () => {
    watch.close()
    expect(streams[0]!.ended).toBe(true)
    vi.advanceTimersByTime(10_000)
    expect(streams.length).toBe(1)
  })
})
