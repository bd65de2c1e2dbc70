/** The command line as a contract: verbs, what they print for programs, exit codes, and errors with their advice. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildImage } from '../src/image/build.ts'

const BIN = fileURLToPath(new URL('../bin/understudy.mjs', import.meta.url))
let directory: string

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function understudy(...args: string[]): Promise<Ended> {
  const env = { ...process.env, UNDERSTUDY_DIR: directory }
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], { env, timeout: 120_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

/** A failure is two lines: what happened, under a stable code, and what to do next. */
function expectError(ended: Ended, code: string, exitCode: number): void {
  expect(ended.stderr).toMatch(new RegExp(`^error ${code}: .+\nnext: .+\n$`, 's'))
  expect(ended).toMatchObject({ code: exitCode, stdout: '' })
}

beforeAll(async () => {
  await buildImage('tiny')
  directory = mkdtempSync(join(tmpdir(), 'us-'))
}, 900_000)

afterAll(async () => {
  await understudy('down')
  rmSync(directory, { recursive: true, force: true })
})

test.each([
  'up',
  'down',
  'run',
  'ps',
  'info',
  'stop',
  'rm',
  'console',
  'events',
  'failover',
  'protect',
  'unprotect',
  'migrate',
  'save',
  'restore',
  'cluster init',
  'cluster token',
  'cluster join',
  'gateway',
  'host',
  'host ls',
  'host drain',
  'host undrain',
  'pause',
  'restart',
  'resume',
  'limit',
  'image build',
  'image ls',
  'machine run',
  'machine replay',
  'demo',
])('%s explains itself', async (verb) => {
  const { code, stdout } = await understudy(...verb.split(' '), '--help')
  expect(code).toBe(0)
  expect(stdout).toContain(`Usage: understudy ${verb}`)
})

test('without a cluster, verbs say how to start one', async () => {
  expectError(await understudy('ps'), 'CLUSTER_NOT_UP', 3)
  expectError(await understudy('stop', 'x'), 'CLUSTER_NOT_UP', 3)
  expect(await understudy('down')).toMatchObject({ code: 0, stdout: 'no cluster was up\n' })
})

test('bad words are refused before anything happens', async () => {
  expect((await understudy('fly')).code).toBe(2)
  expect((await understudy('run')).code).toBe(2)
  expect((await understudy('up', '--hosts', '0')).code).toBe(2)
  expectError(await understudy('run', 'tiny', '--name', 'a', '--memory', '1T'), 'MEMORY_INVALID', 2)
  expectError(await understudy('run', 'tiny', '--name', 'a', '--publish', '80'), 'PUBLISH_INVALID', 2)
  expectError(await understudy('limit', 'a', '--cpu', '4%'), 'CPU_LIMIT_INVALID', 2)
  expectError(await understudy('run', 'no-such', '--name', 'a'), 'IMAGE_NOT_FOUND', 3)
})

test('from up to down', async () => {
  const up = await understudy('up', '--hosts', '2')
  expect(up).toMatchObject({ code: 0, stderr: '' })
  expectError(await understudy('up'), 'CLUSTER_ALREADY_UP', 4)
  expect(JSON.parse((await understudy('ps', '--json')).stdout)).toEqual([])
  expectError(await understudy('info', 'web'), 'VM_NOT_FOUND', 3)
  expectError(await understudy('run', 'tiny', '--name', 'Web'), 'VM_NAME_INVALID', 2)

  const run = await understudy('run', 'tiny', '--name', 'web', '--memory', '256M')
  // The first run of an image with this much memory says that it takes longer.
  expect(run).toMatchObject({ code: 0, stderr: expect.stringMatching(/^(booting the image once .+\n)?$/) })
  expectError(await understudy('run', 'tiny', '--name', 'web'), 'VM_EXISTS', 4)

  const [vm, ...others] = JSON.parse((await understudy('ps', '--json')).stdout)
  expect(others).toEqual([])
  expect(Object.keys(vm)).toEqual([
    'name',
    'state',
    'protection',
    'generation',
    'primary',
    'backup',
    'lagMs',
    'retired',
  ])
  expect(vm).toMatchObject({
    name: 'web',
    state: 'running',
    primary: { host: expect.any(String), pid: expect.any(Number) },
    retired: expect.any(Number),
  })
  expect((await understudy('ps')).stdout).toMatch(/^NAME +STATE .*\nweb +running /)
  expect(JSON.parse((await understudy('info', 'web', '--json')).stdout).memoryBytes).toBe(256 * 1024 * 1024)
  expectError(await understudy('rm', 'web'), 'VM_RUNNING', 4)

  expect(await understudy('pause', 'web')).toMatchObject({ code: 0, stdout: 'web paused\n' })
  expect((await understudy('ps')).stdout).toMatch(/\nweb +paused /)
  expect(await understudy('resume', 'web')).toMatchObject({ code: 0, stdout: 'web resumed\n' })
  expect(await understudy('limit', 'web', '--cpu', '50%')).toMatchObject({ code: 0 })
  expect(JSON.parse((await understudy('info', 'web', '--json')).stdout)).toMatchObject({
    ...{ state: 'running', cpuLimit: 0.5 },
  })

  expect(await understudy('stop', 'web', '--time', '0')).toMatchObject({ code: 0, stdout: 'web stopped\n' })
  expectError(await understudy('stop', 'web'), 'VM_NOT_RUNNING', 4)
  expectError(await understudy('failover', 'web'), 'VM_NOT_RUNNING', 4)
  expectError(await understudy('pause', 'web'), 'VM_NOT_RUNNING', 4)
  expectError(await understudy('console', 'web'), 'VM_NOT_RUNNING', 4)
  expect(await understudy('rm', 'web')).toMatchObject({ code: 0, stdout: 'web removed\n' })

  const lines = (await understudy('events', '--json')).stdout.trimEnd().split('\n')
  const all = lines.map((line) => JSON.parse(line))
  // Those of hosts are of no virtual machine.
  const events = all.filter(({ vm }) => vm !== '')
  expect(all.filter(({ vm }) => vm === '').map(({ type }) => type)).toEqual(['host-joined', 'host-joined'])
  for (const event of events) {
    expect(event).toMatchObject({ time: expect.any(String), vm: 'web', type: expect.any(String) })
  }
  const types = events.map((event) => event.type)
  for (const type of ['started', 'protected', 'paused', 'resumed', 'limited', 'stopped'])
    expect(types).toContain(type)
  expect(types).not.toContain('went-live')

  expect(await understudy('down')).toMatchObject({ code: 0, stdout: 'cluster down\n' })
  expect((await understudy('events')).stdout).toContain('web protected on host-')
})

test('verbs of clusters and hosts say what is wrong with what they were given', async () => {
  const elsewhere = ['--dir', join(directory, 'none')]
  expectError(await understudy('host', '--name', 'X Y', ...elsewhere), 'HOST_NAME_INVALID', 2)
  expectError(await understudy('host', '--name', 'x', ...elsewhere), 'CLUSTER_NOT_UP', 3)
  const store = ['--store', join(directory, 'nothing')]
  expectError(await understudy('host', '--name', 'x', ...store, ...elsewhere), 'STORE_NOT_FOUND', 3)
  const beyond = ['--listen', '192.0.2.1', ...store, ...elsewhere]
  expectError(await understudy('host', '--name', 'x', ...beyond), 'SECURITY_IDENTITY_MISSING', 1)
  expectError(
    await understudy('cluster', 'join', 'abc', ...store, ...elsewhere),
    'SECURITY_JOIN_TOKEN_INVALID',
    2,
  )
  expectError(await understudy('protect', 'web', '--rate', 'fast', ...elsewhere), 'CLONE_RATE_INVALID', 2)
  expectError(await understudy('host', 'ls', ...elsewhere), 'CLUSTER_NOT_UP', 3)
})

test('images are listed for people and programs', async () => {
  const list = JSON.parse((await understudy('image', 'ls', '--json')).stdout)
  expect(list).toContainEqual(
    expect.objectContaining({ name: 'tiny', state: 'built', sizeBytes: expect.any(Number) }),
  )
  expectError(await understudy('image', 'build', 'nothing'), 'IMAGE_RECIPE_UNKNOWN', 3)
})
