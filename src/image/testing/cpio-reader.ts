/** Reads a newc archive back, independently of how it was written: fields by position, one entry after another. */

export interface CpioEntry {
  readonly name: string
  readonly inode: number
  readonly mode: number
  readonly uid: number
  readonly mtime: number
  readonly links: number
  readonly rdev: readonly [major: number, minor: number]
  readonly data: Buffer
}

export function readCpio(archive: Uint8Array): CpioEntry[] {
  const bytes = Buffer.from(archive)
  const entries: CpioEntry[] = []
  for (let at = 0; ; ) {
    if (bytes.toString('latin1', at, at + 6) !== '070701') throw new Error(`no entry at ${at}`)
    const field = (index: number) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16)
    const nameEnd = at + 110 + field(11)
    if (bytes[nameEnd - 1] !== 0) throw new Error(`the name at ${at} does not end in NUL`)
    const name = bytes.toString('utf8', at + 110, nameEnd - 1)
    const dataAt = (nameEnd + 3) & ~3
    const dataEnd = dataAt + field(6)
    if (name === 'TRAILER!!!') return entries
    entries.push({
      name,
      inode: field(0),
      mode: field(1),
      uid: field(2),
      links: field(4),
      mtime: field(5),
      rdev: [field(9), field(10)],
      data: bytes.subarray(dataAt, dataEnd),
    })
    at = (dataEnd + 3) & ~3
  }
}
