import { describe, expect, it } from 'vitest'
import { GENERATION_ID_BYTES, Generation } from './generation.ts'

function device() {
  const levels: boolean[] = []
  const generation = new Generation({ interrupt: { set: (asserted) => void levels.push(asserted) } })
  const id = () =>
    Buffer.concat(
      [0, 4, 8, 12].map((offset) => {
        const word = Buffer.alloc(4)
        word.writeUInt32LE(generation.read(offset, 4))
        return word
      }),
    )
  return { generation, levels, id }
}

const ID = Uint8Array.from({ length: GENERATION_ID_BYTES }, (_, n) => 0xf0 + n)

describe('the generation identifier', () => {
  it('is zero at power-on, and reading it then raises nothing', () => {
    const { levels, id } = device()
    expect(id()).toEqual(Buffer.alloc(GENERATION_ID_BYTES))
    expect(levels).toEqual([])
  })

  it('changes with an interrupt that reading it ends', () => {
    const { generation, levels, id } = device()
    generation.change(ID)
    expect(levels).toEqual([true])
    expect(id()).toEqual(Buffer.from(ID))
    expect(levels).toEqual([true, false])
  })

  it('can be read in any width, and not past its end', () => {
    const { generation } = device()
    generation.change(ID)
    expect([generation.read(3, 1), generation.read(14, 2), generation.read(16, 4)]).toEqual([0xf3, 0xfffe, 0])
  })

  it('comes back from a saved state, read or unread', () => {
    const { generation, id } = device()
    generation.change(ID)
    const copy = device()
    copy.generation.restore(generation.save())
    expect(copy.levels).toEqual([])
    expect(copy.id()).toEqual(Buffer.from(ID))
    expect(copy.levels).toEqual([false])
    id()
    const read = device()
    read.generation.restore(generation.save())
    expect(read.id()).toEqual(Buffer.from(ID))
    expect(read.levels).toEqual([])
  })

  it('has 16 bytes, and nothing else is taken', () => {
    const { generation } = device()
    expect(() => generation.change(new Uint8Array(15))).toThrow(RangeError)
    expect(() => generation.restore({ version: 1, id: new Uint8Array(17), unread: false })).toThrowError(
      expect.objectContaining({ code: 'DEVICE_STATE_INVALID' }),
    )
  })
})
