/** Steps on files of a directory that other hosts share: whole or not at all, and on disk before they are told of. */
import { constants } from 'node:fs'
import { link, open, readdir, stat, unlink } from 'node:fs/promises'
import { errorCode } from './serial-operations.ts'

export interface FileRead {
  readonly bytes: Uint8Array
  /** The time of modification in nanoseconds, as the server has it now. */
  readonly mtimeNs: bigint
}

/**
 * The file, or null if it is not there. Reads one byte more than `bytesMax`, so that too long is seen. Opening is
 * what makes an NFS client ask the server again; a plain stat may be answered from its cache for a minute.
 */
export async function readBounded(path: string, bytesMax: number): Promise<FileRead | null> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  })
  if (handle === null) return null
  try {
    const buffer = new Uint8Array(bytesMax + 1)
    let filled = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled)
      filled += bytesRead
      if (bytesRead === 0 || filled === buffer.length) break
    }
    const { mtimeNs } = await handle.stat({ bigint: true })
    return { bytes: buffer.subarray(0, filled), mtimeNs }
  } finally {
    await handle.close()
  }
}

/** Makes a new file and flushes it; `mtimeS` is its time of modification in seconds, if given. */
export async function writeSynced(path: string, bytes: Uint8Array, mtimeS: number | null): Promise<void> {
  const handle = await open(path, 'wx', 0o644)
  try {
    await handle.writeFile(bytes)
    if (mtimeS !== null) await handle.utimes(mtimeS, mtimeS)
    await handle.sync()
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
}

/** Whether `to` now names this file because of this call. */
export async function linkOnce(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    // The answer to a link that was done may be lost and repeated as EEXIST: two links mean it was ours.
    if ((await stat(from)).nlink === 2) return true
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

export async function readdirOrEmpty(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
}

/** Makes names in the directory outlive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } catch (error) {
    // Some network file systems know no flush of a directory; there the server's link is already durable.
    if (errorCode(error) !== 'EINVAL') throw error
  } finally {
    await handle.close()
  }
}
