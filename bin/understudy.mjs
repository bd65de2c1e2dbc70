#!/usr/bin/env node
// The command `understudy`. Runs on any Node from 20 on, which is what a machine may have; the program itself
// needs the Node that comes along as the npm package `node`.
import { existsSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { bundledNode, NODE_MAJOR_MIN, runInPlaceOf } from '../setup/node.mjs'

// A checkout has sources, which Node runs as they are; a package has them compiled, because Node strips no types
// below node_modules.
const source = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
const compiled = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const entry = existsSync(source) ? source : compiled

if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR_MIN) {
  process.argv[1] = entry
  await import(pathToFileURL(entry).href)
} else {
  const node = bundledNode()
  if (node === null) {
    console.error(
      `understudy: needs Node ${NODE_MAJOR_MIN}, which is not installed yet; run \`npm start\` or \`npm run setup\`.`,
    )
    process.exit(1)
  }
  await runInPlaceOf(node, [entry, ...process.argv.slice(2)])
}
