/** Puts a guest's first root file system together: files out of unpacked packages, modules, and our own files. */
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path/posix'
import type { RootNode, RootTree } from './cpio.ts'
import { elfNeeds, isElf } from './elf.ts'
import { ImageError } from './errors.ts'
import type { KernelModule } from './modules.ts'
import type { ImageRecipe, RecipeFile } from './recipe.ts'

/** Directories that Debian has replaced by links into /usr; packages hold the files at the links' targets. */
const MERGED_INTO_USR = /^(?=(?:bin|sbin|lib|lib64)\/)/
const PERMISSION_BITS = 0o7777

/**
 * @param root the directory into which all packages were unpacked.
 * @throws ImageError `IMAGE_PACKAGE_UNUSABLE` if a wanted file or a library it needs is not in the packages.
 */
export async function buildRootTree(
  root: string,
  recipe: ImageRecipe,
  modules: readonly KernelModule[],
): Promise<RootTree> {
  const tree = new Map<string, RootNode>()
  const libraryDirectories = [`usr/lib/${recipe.architecture}-linux-gnu`, 'usr/lib']
  for (const wanted of recipe.packageFiles) {
    const paths = wanted.endsWith('/') ? await filesBelow(wanted.slice(0, -1)) : [wanted]
    for (const path of paths) await take(path, `the recipe of ${recipe.name}`)
  }

  /** Sorted, so that the order in which a host's file system lists them decides nothing. */
  async function filesBelow(directory: string): Promise<readonly string[]> {
    const entries = await readdir(join(root, directory), { recursive: true, withFileTypes: true }).catch(
      () => [],
    )
    const paths = entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(relative(root, entry.parentPath), entry.name))
    if (paths.length === 0) {
      throw new ImageError(
        'IMAGE_PACKAGE_UNUSABLE',
        `No package has files below ${directory}, which the recipe of ${recipe.name} needs.`,
      )
    }
    return paths.sort()
  }

  /** `links` are those that led here. */
  async function take(path: string, neededBy: string, links: readonly string[] = []): Promise<void> {
    if (links.includes(path)) {
      throw new ImageError('IMAGE_PACKAGE_UNUSABLE', `The symbolic link ${path} leads back to itself.`)
    }
    if (tree.has(path)) return
    const status = await lstat(join(root, path)).catch(() => null)
    if (status?.isSymbolicLink()) {
      const target = await readlink(join(root, path))
      tree.set(path, { kind: 'symlink', target })
      const followed = target.startsWith('/') ? target.slice(1) : join(dirname(path), target)
      await take(followed.replace(MERGED_INTO_USR, 'usr/'), neededBy, [...links, path])
    } else if (status?.isFile()) {
      const data = await readFile(join(root, path))
      tree.set(path, { kind: 'file', permissions: status.mode & PERMISSION_BITS, data })
      if (isElf(data)) await takeNeeds(path, data)
    } else {
      throw new ImageError(
        'IMAGE_PACKAGE_UNUSABLE',
        `No package has the file ${path}, which ${neededBy} needs.`,
      )
    }
  }

  async function takeNeeds(path: string, data: Buffer): Promise<void> {
    const needs = elfNeeds(data, path)
    if (needs.interpreter !== null) {
      await take(needs.interpreter.slice(1).replace(MERGED_INTO_USR, 'usr/'), path)
    }
    for (const library of needs.libraries) {
      await take(await locateLibrary(library), path)
    }
  }

  async function locateLibrary(name: string): Promise<string> {
    for (const directory of libraryDirectories) {
      const path = `${directory}/${name}`
      if ((await lstat(join(root, path)).catch(() => null)) !== null) return path
    }
    return `${libraryDirectories[0]}/${name}`
  }

  for (const module of modules) {
    tree.set(`usr/lib/modules/${module.name}.ko`, { kind: 'file', permissions: 0o644, data: module.data })
  }
  tree.set('etc/modules', textNode(modules.map((module) => `${module.name}\n`).join('')))
  // The kernel opens it for the first process, before that can mount devtmpfs.
  tree.set('dev/console', { kind: 'character-device', permissions: 0o600, major: 5, minor: 1 })
  for (const [path, file] of Object.entries(recipe.files)) tree.set(path, fileNode(file))
  return tree
}

function fileNode(file: RecipeFile): RootNode {
  return file.kind === 'text' ? { ...textNode(file.text), permissions: file.permissions } : file
}

function textNode(text: string): RootNode & { kind: 'file' } {
  return { kind: 'file', permissions: 0o644, data: Buffer.from(text) }
}
