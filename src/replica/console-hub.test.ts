import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { ConsoleHub } from './console-hub.ts'

/** A terminal that keeps what it is shown. */
function terminal() {
  const screen = { text: '' }
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      screen.text += chunk.toString()
      done()
    },
  })
  return { screen, stream }
}

test('everybody sees what the guest writes; who comes late sees what was written before, if asked', () => {
  const hub = new ConsoleHub(() => {})
  const [first, late, blank] = [terminal(), terminal(), terminal()]
  hub.attach(first.stream, true)
  hub.write(Buffer.from('one '))
  hub.attach(late.stream, true)
  hub.attach(blank.stream, false)
  hub.write(Buffer.from('two'))
  expect([first, late, blank].map(({ screen }) => screen.text)).toEqual(['one two', 'one two', 'two'])
})

test('history is bounded and keeps the newest', () => {
  const hub = new ConsoleHub(() => {})
  for (let i = 0; i < 5_000; i++) hub.write(Buffer.from(`line ${i}\n`.padEnd(80, ' ')))
  expect(hub.text().length).toBeLessThanOrEqual(64 * 1024 + 80)
  expect(hub.text()).toContain('line 4999')
})

test('a terminal that does not read is cut off, the others go on', () => {
  const hub = new ConsoleHub(() => {})
  const stuck = new Duplex({ read() {}, write() {} })
  const good = terminal()
  hub.attach(stuck, false)
  hub.attach(good.stream, false)
  for (let i = 0; i < 40 && !stuck.destroyed; i++) hub.write(Buffer.alloc(64 * 1024))
  expect(stuck.destroyed).toBe(true)
  expect(good.stream.destroyed).toBe(false)
})

test('too many terminals are turned away', () => {
  const hub = new ConsoleHub(() => {})
  for (let i = 0; i < 32; i++) hub.attach(terminal().stream, false)
  const extra = terminal()
  hub.attach(extra.stream, false)
  expect(extra.stream.writableEnded).toBe(true)
})
