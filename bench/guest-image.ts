/**
 * What all sides boot: Debian's kernel, the initial file system of the image `bench`, and behind it a second archive
 * with the workloads (the kernel unpacks one after the other). The C kernels are compiled once, by the guest's own
 * compiler in a guest of ours, and kept for as long as neither they nor the image change.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
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

/** @throws ImageError */
export async function prepareGuestImage(): Promise<GuestImage> {
  const image = await buildImage('bench', { progress: progressDisplay(process.stderr) })
  const { append, memoryMiB } = image.manifest
  const work = await readWork()
  const digest = createHash('sha256').update(image.manifest.initrd.sha256)
  for (const [path, node] of work) digest.update(`\0${path}\0`).update(node.data)
  const directory = join(imagesDirectory(), PREPARED)
  const initrdPath = join(directory, `${digest.digest('hex').slice(0, 32)}.initrd`)
  if ((await stat(initrdPath).catch(() => null)) === null) {
    await mkdir(directory, { recursive: true })
    const plain = { image: await withWork(image, work, `${initrdPath}.${randomUUID()}`), append, memoryMiB }
    work.set('work/kernels', executable(await compileKernels(plain)))
    await rename((await withWork(image, work, plain.image.initrdPath)).initrdPath, initrdPath)
  }
  return { image: { ...image, initrdPath }, append, memoryMiB }
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

function executable(data: Uint8Array): FileNode {
  return { kind: 'file', permissions: 0o755, data }
}

async function withWork(
  image: OpenedImage,
  work: ReadonlyMap<string, FileNode>,
  initrdPath: string,
): Promise<OpenedImage> {
  await writeFile(initrdPath, Buffer.concat([await readFile(image.initrdPath), writeCpio(work)]))
  return { ...image, initrdPath }
}

/**
 * The program that a guest without one makes of the sources and prints on its console. QEMU does it if it is there: a
 * compiler is no easy work, and whoever changes a machine shall not have it make its own yardstick.
 */
async function compileKernels(guest: GuestImage): Promise<Buffer> {
  progress('compiling the kernels in a guest, once')
  const side = sideNamed((await qemuVersion()) === null ? 'plain' : 'qemu')
  const { console, close } = await side.start(guest)
  try {
    const { end } = await console.marker('@kernels', 0)
    const printed = await console.textUntil('@end', end)
    return gunzipSync(Buffer.from(printed.replace(/\s/g, ''), 'base64'))
  } finally {
    await close()
  }
}
