/**
 * Snapshots of booted images: made when an image is first run with some memory and command line, used by every later
 * run. They are a cache, kept beside the images. A file is named by the digest of everything its content depends on,
 * is complete from the moment it has its name, and never changes; so any number of processes may look, make and use
 * at once. What is missing, damaged or of another version of the machine is made again.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { type OpenedImage, snapshotsDirectory, verifyImage } from '../image/directory.ts'
import type { Start } from '../replica/config.ts'
import { BOOT_WORD } from '../snapshot/boot.ts'
import { SnapshotError } from '../snapshot/errors.ts'
import { readSnapshotConfig } from '../snapshot/file.ts'
import { SNAPSHOT_VERSION } from '../snapshot/format.ts'
import { machineVersion } from '../snapshot/machine-version.ts'
import { withCompileCache } from './compile-cache.ts'

/** Snapshots kept besides the one just being made; the least recently used go first. Each holds what its guest has touched. */
const SNAPSHOTS_MAX = 7
const SNAPSHOTS_BYTES_MAX = 4 * 1024 * 1024 * 1024
/** A temporary file this old belongs to a process that was killed; and a boot that failed so long ago may be tried again. */
const LEFTOVER_MS = 3_600_000

const SUFFIX = '.snapshot'
/** Stands for a snapshot that could not be made, so that not every run tries. */
const FAILED_SUFFIX = '.failed'
const MAKER_MODULE = new URL(`./boot-snapshot-main${extname(import.meta.url)}`, import.meta.url)

/** What the maker is told, as JSON. */
export interface BootOrder {
  readonly kernel: string
  readonly initrd: string
  readonly append: string
  readonly memoryBytes: number
  readonly file: string
}

export interface BootSnapshotOptions {
  readonly image: OpenedImage
  readonly memoryBytes: number
  /** The kernel's command line without what differs from machine to machine. */
  readonly append: string
  /** Called when the snapshot has to be made first, which takes as long as a boot. */
  readonly onMake?: () => void
}

export type BootSnapshot = Pick<Start, 'snapshot' | 'digest' | 'machineVersion'>

/**
 * The snapshot to start from, made first if need be. Null for an image whose init cannot be saved, and for a boot that
 * has failed to be saved before. Throws SNAPSHOT_BOOT_FAILED or IMAGE_CORRUPT.
 */
export async function bootSnapshot(options: BootSnapshotOptions): Promise<BootSnapshot | null> {
  const { image, memoryBytes } = options
  if (!image.manifest.savable) return null
  const append = `${options.append} ${BOOT_WORD}`.trim()
  const version = machineVersion()
  const { kernel, initrd } = image.manifest
  const key = createHash('sha256')
    .update(JSON.stringify([SNAPSHOT_VERSION, version, kernel.sha256, initrd.sha256, append, memoryBytes]))
    .digest('hex')
  const file = join(snapshotsDirectory(), `${key}${SUFFIX}`)
  const present = look(file)
  if (present !== null) return { ...present, machineVersion: version }
  const failed = join(snapshotsDirectory(), `${key}${FAILED_SUFFIX}`)
  if (existsSync(failed)) return null
  options.onMake?.()
  await verifyImage(image)
  mkdirSync(snapshotsDirectory(), { recursive: true, mode: 0o700 })
  tidy(snapshotsDirectory())
  try {
    await make({ kernel: image.kernelPath, initrd: image.initrdPath, append, memoryBytes, file })
  } catch (error) {
    writeFileSync(failed, '')
    throw error
  }
  const made = look(file)
  if (made === null) throw new SnapshotError('SNAPSHOT_BOOT_FAILED', `${file} was made and is gone.`)
  return { ...made, machineVersion: version }
}

function look(file: string): Omit<BootSnapshot, 'machineVersion'> | null {
  try {
    const { digest } = readSnapshotConfig(file).boot
    const now = new Date()
    utimesSync(file, now, now)
    return { snapshot: file, digest: digest.toString(16).padStart(16, '0') }
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error
    rmSync(file, { force: true })
    return null
  }
}

/** Boots in a process of its own: guest RAM is gone with it, and this one goes on answering. */
async function make(order: BootOrder): Promise<void> {
  const child = spawn(process.execPath, [MAKER_MODULE.pathname, JSON.stringify(order)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: withCompileCache(process.env),
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const status = await new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.on('close', (code, signal) => resolve(code ?? signal)),
  )
  if (status === 0) return
  throw new SnapshotError('SNAPSHOT_BOOT_FAILED', `Booting for a snapshot failed (${status}): ${said.trim()}`)
}

/** Removes what is too much, and what killed processes left behind. */
export function tidy(directory: string, nowMs: number = Date.now()): void {
  const files = readdirSync(directory).flatMap((name) => {
    const path = join(directory, name)
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat === undefined ? [] : [{ path, bytes: stat.size, usedMs: stat.mtimeMs }]
  })
  let bytes = 0
  const kept = files.filter(({ path }) => path.endsWith(SUFFIX)).sort((a, b) => b.usedMs - a.usedMs)
  for (const [index, file] of kept.entries()) {
    bytes += file.bytes
    // Whoever opened it goes on reading it.
    if (index >= SNAPSHOTS_MAX || (index > 0 && bytes > SNAPSHOTS_BYTES_MAX))
      rmSync(file.path, { force: true })
  }
  for (const { path, usedMs } of files) {
    if (!path.endsWith(SUFFIX) && nowMs - usedMs > LEFTOVER_MS) rmSync(path, { force: true })
  }
}
