import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

interface PackagesModule {
  missingPrograms(options: { test: boolean; find?: (command: string) => string | null }): { debian: string }[]
  installPrograms(
    options: { test: boolean; find: (command: string) => string | null; uid?: number },
    say: (message: string) => void,
  ): void
}

const { installPrograms, missingPrograms } = (await import(`${ROOT}setup/packages.mjs`)) as PackagesModule

function node(...args: string[]) {
  return spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
}

describe('set-up', () => {
  it('does nothing, at once, when everything is there', () => {
    const startedMs = performance.now()
    const { status, stdout, stderr } = node('setup/setup.mjs', '--test')
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: '',
      stderr: 'understudy: everything is there.\n',
    })
    // 150 ms on an idle machine; the margin is for the tests that run beside this one.
    expect(performance.now() - startedMs).toBeLessThan(3_000)
    expect(missingPrograms({ test: true })).toEqual([])
  })

  it('says exactly what to bring where there is no apt', () => {
    const bring = () => installPrograms({ test: true, find: () => null }, () => {})
    expect(bring).toThrow(/no apt-get/)
    for (const { debian } of missingPrograms({ test: true, find: () => null })) {
      expect(debian).toMatch(/^[a-z0-9.+-]+$/)
    }
    for (const command of ['passt', 'dpkg-deb', 'gpgv', 'qemu-riscv64', 'redis-cli'])
      expect(bring).toThrow(`    ${command}  (`)
  })

  it('says exactly what to run where root is needed and not to be had', () => {
    const find = (command: string) => (['passt', 'sudo'].includes(command) ? null : `/usr/bin/${command}`)
    const install = () => installPrograms({ test: false, find, uid: 1000 }, () => {})
    expect(install).toThrow('    sudo apt-get install -y --no-install-recommends passt\n')
  })
})

describe('the launcher', () => {
  const launch = (how: string, script: string) => {
    const source = `${how}; const { runInPlaceOf } = await import('${ROOT}setup/node.mjs')
      await runInPlaceOf(process.execPath, ['-e', ${JSON.stringify(script)}])`
    return spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  }
  // Node 20, which starts the launcher on a fresh machine, has no execve and needs a child.
  const ways = { 'by becoming it': '', 'as its parent': 'process.execve = undefined' }

  for (const [name, how] of Object.entries(ways)) {
    it(`runs another Node ${name}: same exit code`, async () => {
      expect(await once(launch(how, 'process.exit(7)'), 'exit')).toEqual([7, null])
    })

    it(`runs another Node ${name}: same signal`, async () => {
      expect(await once(launch(how, "process.kill(process.pid, 'SIGKILL')"), 'exit')).toEqual([
        null,
        'SIGKILL',
      ])
    })

    it(`runs another Node ${name}: signals reach it`, async () => {
      const script =
        "process.on('SIGTERM', () => process.exit(3)); setInterval(() => {}, 1e6); console.log('ready')"
      const launcher = launch(how, script)
      await once(launcher.stdout, 'data')
      launcher.kill('SIGTERM')
      expect(await once(launcher, 'exit')).toEqual([3, null])
    })
  }

  it('starts the command line', () => {
    const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { version: string }
    expect(node('bin/understudy.mjs', '--version')).toMatchObject({ status: 0, stdout: `${version}\n` })
    expect(node('bin/understudy.mjs', 'no-such-verb').status).not.toBe(0)
  })
})

describe('the package', () => {
  it('names for every platform what the lockfile must hold, and no registry', () => {
    const { packages } = JSON.parse(readFileSync(`${ROOT}package-lock.json`, 'utf8')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string>; resolved?: string }>
    }
    const names = new Set(Object.keys(packages).map((path) => path.replace(/^.*node_modules\//, '')))
    for (const { optionalDependencies = {}, resolved } of Object.values(packages)) {
      // `npm ci` refuses a lockfile that lacks a package of another platform.
      for (const name of Object.keys(optionalDependencies)) expect(names).toContain(name)
      expect(resolved).toBe(undefined)
    }
  })
})
