// `npm run build`: compiles src to dist for the package, since Node strips no types below node_modules. Files that
// sources read at run time go along.
import { spawnSync } from 'node:child_process'
import { cpSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './setup.mjs'

const dist = join(ROOT, 'dist')
rmSync(dist, { recursive: true, force: true })
const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: ROOT,
  stdio: 'inherit',
})
if (status !== 0) process.exit(1)
cpSync(join(ROOT, 'src'), dist, {
  recursive: true,
  filter: (path) => statSync(path).isDirectory() || !path.endsWith('.ts'),
})
