import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DISK_REQUEST_BYTES_MAX, RawDisk, SECTOR_BYTES } from './raw-disk.ts'

const SECTORS = 16
const SIZE = SECTORS * SECTOR_BYTES

let directory: string
let path: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'raw-disk-'))
  path = join(directory, 'disk.raw')
  await writeFile(path, new Uint8Array(SIZE))
})

afterEach(() => rm(directory, { recursive: true }))

describe('a raw disk', () => {
  it('reads what was written, at the same place of the file', async () => {
    const write = fc.record({ sector: fc.nat(SECTORS - 1), byte: fc.integer({ min: 1, max: 255 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(write, { maxLength: 8 }), async (writes) => {
        await writeFile(path, new Uint8Array(SIZE))
        const model = new Uint8Array(SIZE)
        const disk = await RawDisk.open(path)
        for (const { sector, byte } of writes) {
          const data = new Uint8Array(SECTOR_BYTES).fill(byte)
          await disk.write(sector * SECTOR_BYTES, data)
          model.set(data, sector * SECTOR_BYTES)
        }
        await disk.flush()
        expect(await disk.read(0, SIZE)).toEqual(model)
        await disk.close()
        expect(new Uint8Array(await readFile(path))).toEqual(model)
      }),
      { numRuns: 20 },
    )
  })

  it('takes requests at the same time', async () => {
    const disk = await RawDisk.open(path)
    const sectors = Array.from({ length: SECTORS }, (_, sector) => sector)
    const data = (sector: number) => new Uint8Array(SECTOR_BYTES).fill(sector + 1)
    await Promise.all(sectors.map((sector) => disk.write(sector * SECTOR_BYTES, data(sector))))
    const read = await Promise.all(sectors.map((sector) => disk.read(sector * SECTOR_BYTES, SECTOR_BYTES)))
    expect(read).toEqual(sectors.map(data))
    await disk.close()
  })

  it('refuses what is not on it', async () => {
    const disk = await RawDisk.open(path)
    for (const [offset, length] of [
      [-512, 512],
      [SIZE, 1],
      [SIZE - 511, 512],
      [0.5, 1],
      [0, DISK_REQUEST_BYTES_MAX + 1],
      [Number.MAX_SAFE_INTEGER, 512],
    ]) {
      await expect(disk.read(offset, length)).rejects.toMatchObject({ code: 'DISK_OUT_OF_RANGE' })
    }
    await expect(disk.write(SIZE, Uint8Array.of(1))).rejects.toMatchObject({ code: 'DISK_OUT_OF_RANGE' })
    expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(SIZE))
    await disk.close()
  })

  it('opened for reading is not written', async () => {
    const disk = await RawDisk.open(path, { readOnly: true })
    await expect(disk.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'DISK_READ_ONLY' })
    await disk.flush()
    await disk.close()
  })

  it('that shrank under us is an error and no short read', async () => {
    const disk = await RawDisk.open(path)
    await truncate(path, SECTOR_BYTES)
    await expect(disk.read(0, SIZE)).rejects.toMatchObject({ code: 'DISK_IO' })
    await disk.close()
  })

  it('must be a file of whole sectors that is there', async () => {
    await expect(RawDisk.open(join(directory, 'none'))).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' })
    await expect(RawDisk.open(directory)).rejects.toMatchObject({ code: 'DISK_NOT_A_FILE' })
    await expect(RawDisk.open(directory, { readOnly: true })).rejects.toMatchObject({
      code: 'DISK_NOT_A_FILE',
    })
    for (const size of [0, 1, 513]) {
      await truncate(path, size)
      await expect(RawDisk.open(path)).rejects.toMatchObject({ code: 'DISK_SIZE' })
    }
  })
})
