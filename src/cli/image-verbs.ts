/** `image build` and `image ls`. */
import type { Command } from 'commander'
import { buildImage, RECIPES } from '../image/build.ts'
import { listImages } from '../image/directory.ts'
import { progressDisplay } from '../image/progress.ts'
import { formatTable, printJson } from './output.ts'

export function registerImageVerbs(program: Command): void {
  const image = program.command('image').description('build and list guest images')

  image
    .command('build')
    .description('build an image from distribution packages, unless it is there and intact')
    .argument('[name]', `which one: ${[...RECIPES.keys()].join(', ')}`, 'tiny')
    .option('--refresh', 'look for newer packages', false)
    .action(async (name: string, flags: { refresh: boolean }) => {
      const progress = progressDisplay(process.stderr)
      const { manifest } = await buildImage(name, { progress, refresh: flags.refresh })
      process.stdout.write(`${name}: ${manifest.packages.length} packages of ${manifest.suite}\n`)
    })

  image
    .command('ls')
    .alias('list')
    .description('list the images that are there, and those that can be built')
    .option('--json', 'as JSON', false)
    .action(async (flags: { json: boolean }) => {
      const there = (await listImages()).map(({ name, manifest, error }) => ({
        name,
        state: error === null ? 'built' : error.code,
        suite: manifest?.suite ?? null,
        sizeBytes: manifest === null ? null : manifest.kernel.sizeBytes + manifest.initrd.sizeBytes,
      }))
      const known = [...RECIPES.values()]
        .filter(({ name }) => !there.some((image) => image.name === name))
        .map(({ name, suite }) => ({ name, state: 'known', suite, sizeBytes: null }))
      const list = [...there, ...known]
      if (flags.json) {
        printJson(list)
        return
      }
      const rows = list.map(({ name, state, suite, sizeBytes }) => [
        name,
        state,
        suite ?? '-',
        sizeBytes === null ? '-' : `${Math.round(sizeBytes / 2 ** 20)} MiB`,
      ])
      process.stdout.write(formatTable(['NAME', 'STATE', 'SUITE', 'SIZE'], rows))
    })
}
