/**
 * Picks kernel modules out of the kernel's package and makes them cheap to load.
 *
 * Debian compresses modules and appends a signature to each. Both were checked once, when the package was
 * downloaded and verified; a guest would pay for them at every boot: decompression, SHA-256 over the module and
 * an RSA-4096 operation, 26 million instructions for the smallest. So modules go into the image decompressed
 * and without the signature. The module's ELF file itself stays as Debian built it; the kernel only notes that
 * unsigned modules were loaded (taint flag E).
 */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { runCommand } from './command.ts'
import { moduleInfo } from './elf.ts'
import { ImageError } from './errors.ts'

export interface KernelModule {
  /** Without directory and ending: `virtio_net`. */
  readonly name: string
  readonly data: Uint8Array
}

/** apt is there anyway and knows every compression that its packages use; xz and zstd programs may be missing. */
const DECOMPRESSOR = '/usr/lib/apt/apt-helper'

const MODULE_FILE = /\.ko(\.(?:xz|zst|gz))?$/

/** include/linux/module_signature.h: the last 40 bytes are a struct of 12, its length field last, and this. */
const SIGNATURE_MAGIC = Buffer.from('~Module signature appended~\n', 'latin1')
const SIGNATURE_INFO_BYTES = 12

/**
 * `wanted` and what they depend on, in an order in which each can be loaded.
 *
 * @param root the unpacked kernel package.
 * @throws ImageError `IMAGE_PACKAGE_UNUSABLE` if a module is missing or malformed.
 */
export async function collectModules(
  root: string,
  wanted: readonly string[],
): Promise<readonly KernelModule[]> {
  const files = new Map<string, string>()
  const directory = join(root, 'usr/lib/modules')
  for (const entry of await readdir(directory, { recursive: true }).catch(() => [])) {
    if (MODULE_FILE.test(entry)) files.set(canonicalName(basename(entry)), join(directory, entry))
  }
  const loaded = new Map<string, KernelModule>()
  const visiting = new Set<string>()
  const visit = async (name: string): Promise<void> => {
    const key = canonicalName(name)
    if (loaded.has(key)) return
    const path = files.get(key)
    if (path === undefined)
      throw new ImageError('IMAGE_PACKAGE_UNUSABLE', `The kernel has no module ${name}.`)
    if (visiting.has(key))
      throw new ImageError('IMAGE_PACKAGE_UNUSABLE', `The module ${name} depends on itself.`)
    visiting.add(key)
    const data = withoutSignature(await readModule(path))
    for (const [field, value] of moduleInfo(data, path)) {
      if (field === 'depends') for (const other of value.split(',').filter(Boolean)) await visit(other)
    }
    loaded.set(key, { name: key, data })
  }
  for (const name of wanted) await visit(name)
  return [...loaded.values()]
}

/** The kernel takes hyphens and underscores in module names for the same. */
function canonicalName(name: string): string {
  return name.replace(MODULE_FILE, '').replaceAll('-', '_')
}

async function readModule(path: string): Promise<Buffer> {
  return path.endsWith('.ko') ? readFile(path) : runCommand(DECOMPRESSOR, ['cat-file', path])
}

/** Exported for its tests. */
export function withoutSignature(module: Buffer): Buffer {
  if (!module.subarray(-SIGNATURE_MAGIC.length).equals(SIGNATURE_MAGIC)) return module
  const infoAt = module.length - SIGNATURE_MAGIC.length - SIGNATURE_INFO_BYTES
  const end = infoAt < 0 ? -1 : infoAt - module.readUInt32BE(infoAt + SIGNATURE_INFO_BYTES - 4)
  if (end < 0)
    throw new ImageError('IMAGE_PACKAGE_UNUSABLE', 'A module’s signature is longer than the module.')
  return module.subarray(0, end)
}
