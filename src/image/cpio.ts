/**
 * Writes the archive that Linux unpacks into its first root file system: cpio in the "newc" form
 * (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).
 *
 * The bytes are a function of the tree alone: paths sorted by code unit, inode numbers counted from 1, every
 * file owned by root with the modification time 0. So the same packages give the same archive on every host.
 */
import { ImageError } from './errors.ts'

/** What lies at a path. Permissions are the low 12 bits of `st_mode`. */
export type RootNode =
  | { readonly kind: 'directory'; readonly permissions: number }
  | { readonly kind: 'file'; readonly permissions: number; readonly data: Uint8Array }
  | { readonly kind: 'symlink'; readonly target: string }
  | {
      readonly kind: 'character-device'
      readonly permissions: number
      readonly major: number
      readonly minor: number
    }

/** Paths are relative, without a leading or trailing slash: `usr/bin/busybox`. */
export type RootTree = ReadonlyMap<string, RootNode>

const MAGIC = '070701'
const HEADER_BYTES = 110
/** Headers, names and data each begin on this boundary. */
const ALIGNMENT_BYTES = 4
const TRAILER_NAME = 'TRAILER!!!'
/** The kernel refuses longer names (PATH_MAX, terminating NUL included). */
const NAME_BYTES_MAX = 4096
/** Sizes are eight hexadecimal digits; the kernel reads them into 32 bits. */
const FILE_BYTES_MAX = 0xffff_ffff

const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000
const S_IFCHR = 0o020000

/**
 * The archive of `tree`. Parent directories that the tree does not name are added with permissions 755,
 * because the kernel creates nothing on its own.
 *
 * @throws ImageError `IMAGE_TREE_INVALID` for a path that is absolute, empty, too long, or leaves the root, and
 *   for a file larger than the format can say.
 */
export function writeCpio(tree: RootTree): Uint8Array {
  const complete = withParents(tree)
  const names = [...complete.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const entries: Entry[] = names.map((name, index) => toEntry(name, index + 1, complete.get(name)!))
  entries.push({
    name: Buffer.from(TRAILER_NAME),
    inode: 0,
    mode: 0,
    links: 1,
    major: 0,
    minor: 0,
    data: EMPTY,
  })

  const total = entries.reduce(
    (sum, entry) => sum + align(HEADER_BYTES + entry.name.length + 1) + align(entry.data.length),
    0,
  )
  const archive = Buffer.alloc(total)
  let offset = 0
  for (const entry of entries) {
    offset += archive.write(header(entry), offset, 'latin1')
    offset = align(offset + entry.name.copy(archive, offset) + 1)
    archive.set(entry.data, offset)
    offset = align(offset + entry.data.length)
  }
  return archive
}

interface Entry {
  readonly name: Buffer
  readonly inode: number
  readonly mode: number
  readonly links: number
  readonly major: number
  readonly minor: number
  readonly data: Uint8Array
}

const EMPTY = new Uint8Array(0)

function toEntry(name: string, inode: number, node: RootNode): Entry {
  const entry = { name: Buffer.from(name), inode, links: 1, major: 0, minor: 0, data: EMPTY }
  switch (node.kind) {
    case 'directory':
      return { ...entry, mode: S_IFDIR | node.permissions, links: 2 }
    case 'file':
      if (node.data.length > FILE_BYTES_MAX) {
        throw invalid(name, `is ${node.data.length} bytes long and the format ends at ${FILE_BYTES_MAX}`)
      }
      return { ...entry, mode: S_IFREG | node.permissions, data: node.data }
    case 'symlink':
      return { ...entry, mode: S_IFLNK | 0o777, data: Buffer.from(node.target) }
    case 'character-device':
      return { ...entry, mode: S_IFCHR | node.permissions, major: node.major, minor: node.minor }
  }
}

/** Fields in the order of the format; all but the magic are eight hexadecimal digits. */
function header(entry: Entry): string {
  const fields = [
    entry.inode,
    entry.mode,
    0, // uid
    0, // gid
    entry.links,
    0, // mtime
    entry.data.length,
    0, // major of the device the file lies on
    0, // minor of it
    entry.major,
    entry.minor,
    entry.name.length + 1,
    0, // checksum, used by another magic only
  ]
  return MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('')
}

function withParents(tree: RootTree): Map<string, RootNode> {
  const complete = new Map<string, RootNode>()
  for (const [path, node] of tree) {
    const parts = path.split('/')
    if (parts.some((part) => part === '' || part === '.' || part === '..') || path.includes('\0')) {
      throw invalid(path, 'is no plain relative path')
    }
    if (Buffer.byteLength(path) + 1 > NAME_BYTES_MAX)
      throw invalid(path, `is longer than ${NAME_BYTES_MAX - 1} bytes`)
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/')
      const there = tree.get(parent) ?? complete.get(parent)
      if (there !== undefined && there.kind !== 'directory')
        throw invalid(path, `lies below ${parent}, a ${there.kind}`)
      complete.set(parent, there ?? { kind: 'directory', permissions: 0o755 })
    }
    complete.set(path, node)
  }
  return complete
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
}

function invalid(path: string, reason: string): ImageError {
  return new ImageError('IMAGE_TREE_INVALID', `The path ${JSON.stringify(path)} of a guest image ${reason}.`)
}
