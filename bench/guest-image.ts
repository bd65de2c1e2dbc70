/**
 * What all sides boot: Debian's kernel, the initial file system of the image `bench`, and behind it a second archive
 * with the workloads (the kernel unpacks one after the other). The C kernels are compiled once, by the guest's own
 * compiler in a guest of ours, and kept for as long as neither they nor the image change.
 */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { buildImage } from '../src/image/build.ts'
import { type RootNode, writeCpio } from '../src/image/cpio.ts'
import { imagesDirectory, type OpenedImage } from '../src/image/directory.ts'
import { progressDisplay } from '../src/image/progress.ts'
import { qemuVersion } from '../test/isa/qemu.ts'
import { progress } from './report.ts'
import { sideNamed } from './sides.ts'

const SOURCES = join(import.meta.dirname, 'guest')
const SOURCE_FILES = [
  ...['kernel.h', 'main.c', 'core.c', 'integer.c', 'memory.c', 'float.c', 'system.c'],
  ...['main.sh', 'programs.sh', 'work.awk', 'work.lua', 'work.pl', 'work.py', 'work.sh'],
]
/** No image's name begins with a dot. */
const PREPARED = '.bench'

export interface GuestImage {
  readonly image: OpenedImage
  readonly memoryMiB: number
  readonly append: string
}

/** An image as it is. */
export function guestOf(image: OpenedImage): GuestImage {
  return { image, append: image.manifest.append, memoryMiB: image.manifest.memoryMiB }
}

/** @throws ImageError */
export async function prepareGuestImage(): Promise<GuestImage> {
  const image = await buildImage('bench', { progress: progressDisplay(process.stderr) })
  const directory = join(imagesDirectory(), PREPARED)
  await mkdir(directory, { recursive: true })
  const work = await readWork()
  const sources = [...work].filter(([path]) => /\.[ch]$/.test(path))
  const kernelsPath = join(directory, `${digestOf(image, sources)}.kernels`)
  if (!existsSync(kernelsPath)) {
    const uncompiled = await withWork(image, work, `${kernelsPath}.${randomUUID()}`)
    try {
      await replaceFile(kernelsPath, await compileKernels(guestOf(uncompiled), directory))
    } finally {
      await rm(uncompiled.initrdPath, { force: true })
    }
  }
  work.set('work/kernels', executable(await readFile(kernelsPath)))
  const initrdPath = join(directory, `${digestOf(image, [...work])}.initrd`)
  if (!existsSync(initrdPath)) {
    await removeFormer(directory)
    await withWork(image, work, initrdPath)
  }
  return guestOf({ ...image, initrdPath })
}

type FileNode = RootNode & { readonly kind: 'file' }

async function readWork(): Promise<Map<string, FileNode>> {
  const work = new Map<string, FileNode>()
  for (const name of SOURCE_FILES) {
    const data = await readFile(join(SOURCES, name))
    const path = name === 'main.sh' ? 'work/main' : `work/${name}`
    work.set(path, name.endsWith('.sh') ? executable(data) : { kind: 'file', permissions: 0o644, data })
  }
  return work
}

function digestOf({ manifest }: OpenedImage, files: readonly (readonly [string, FileNode])[]): string {
  const digest = createHash('sha256').update(manifest.initrd.sha256)
  for (const [path, { data }] of files) digest.update(`\0${path}\0${data.length}\0`).update(data)
  return digest.digest('hex').slice(0, 32)
}

/** They are as large as the image; whoever still boots one has read it. */
async function removeFormer(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.endsWith('.initrd')) await rm(join(directory, name), { force: true })
  }
}

/** Readers see the whole file or none. */
async function replaceFile(path: string, data: Uint8Array): Promise<void> {
  const next = `${path}.${randomUUID()}`
  await writeFile(next, data)
  await rename(next, path)
}

function executable(data: Uint8Array): FileNode {
  return { kind: 'file', permissions: 0o755, data }
}

async function withWork(
  image: OpenedImage,
  work: ReadonlyMap<string, FileNode>,
  initrdPath: string,
): Promise<OpenedImage> {
  await replaceFile(initrdPath, Buffer.concat([await readFile(image.initrdPath), writeCpio(work)]))
  return { ...image, initrdPath }
}

/**
 * The program that a guest without one makes of the sources and prints on its console. QEMU does it if it is there: a
 * compiler is no easy work, and whoever changes a machine shall not have it make its own yardstick.
 */
async function compileKernels(guest: GuestImage, directory: string): Promise<Buffer> {
  progress('compiling the kernels in a guest, once')
  const side = sideNamed((await qemuVersion()) === null ? 'plain' : 'qemu')
  const { console, close } = await side.start(guest, directory)
  try {
    const { end } = await console.marker('@kernels', 0)
    const printed = await console.textUntil('@end', end)
    return gunzipSync(Buffer.from(printed.replace(/\s/g, ''), 'base64'))
  } finally {
    await close()
  }
}
