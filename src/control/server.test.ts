import { mkdtempSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { callControl, openStream } from './client.ts'
import { ControlServer, checked, TextAnswer } from './server.ts'

let directory: string
let socket: string
let server: ControlServer

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'control-'))
  socket = join(directory, 's')
  server = await ControlServer.listen(
    socket,
    [
      { method: 'GET', path: '/v1/things/:name', handle: ({ params }) => ({ name: params.name }) },
      {
        method: 'POST',
        path: '/v1/double',
        handle: ({ body }) => ({ value: checked(z.object({ value: z.number() }), body).value * 2 }),
      },
      {
        method: 'GET',
        path: '/v1/crash',
        handle: () => {
          throw new TypeError('a bug')
        },
      },
      { method: 'GET', path: '/text', handle: () => new TextAnswer('text/plain; version=1', 'a 1\n') },
      { method: 'GET', path: '/v1/never', handle: () => new Promise(() => {}) },
    ],
    [{ path: '/v1/echo', handle: (_request, stream) => void stream.pipe(stream) }],
  )
})

afterEach(async () => {
  await server.close()
  rmSync(directory, { recursive: true })
})

const anything = z.record(z.string(), z.unknown())
const call = (method: 'GET' | 'POST', path: string, body?: unknown) =>
  callControl({ socket, method, path, body, timeoutMs: 500 }, anything)

test('answers text where a route says so', async () => {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    get({ socketPath: socket, path: '/text', agent: false }, resolve).on('error', reject),
  )
  expect(response.statusCode).toBe(200)
  expect(response.headers['content-type']).toBe('text/plain; version=1')
  expect(await text(response)).toBe('a 1\n')
})

test('routes by method and path, hands over names and checked bodies', async () => {
  expect(await call('GET', '/v1/things/a%20b')).toEqual({ name: 'a b' })
  expect(await call('POST', '/v1/double', { value: 4 })).toEqual({ value: 8 })
})

test.each([
  ['GET', '/v1/nothing', undefined, 'CONTROL_NOT_FOUND'],
  ['POST', '/v1/things/x', undefined, 'CONTROL_NOT_FOUND'],
  ['POST', '/v1/double', { value: 'x' }, 'CONTROL_BAD_REQUEST'],
  ['POST', '/v1/double', { value: 'x'.repeat(300_000) }, 'CONTROL_TOO_LARGE'],
  ['GET', '/v1/crash', undefined, 'CONTROL_INTERNAL'],
  ['GET', '/v1/never', undefined, 'CONTROL_TIMEOUT'],
] as const)('%s %s fails with its code', async (method, path, body, code) => {
  await expect(call(method, path, body)).rejects.toMatchObject({ code })
  expect(await call('GET', '/v1/things/alive')).toEqual({ name: 'alive' })
})

test('a server that is not there and a path too long have codes of their own', async () => {
  const nobody = { socket: join(directory, 'nobody'), method: 'GET', path: '/' } as const
  await expect(callControl(nobody, anything)).rejects.toMatchObject({ code: 'CONTROL_UNREACHABLE' })
  const long = join(directory, 'x'.repeat(100))
  await expect(ControlServer.listen(long, [])).rejects.toMatchObject({ code: 'CONTROL_SOCKET_PATH' })
})

test('an upgraded connection carries bytes both ways; an unknown one is refused', async () => {
  const stream = await openStream({ socket }, '/v1/echo')
  stream.write('hello')
  const [chunk] = (await stream
    .iterator({ destroyOnReturn: false })
    .next()
    .then((r) => [r.value])) as [Buffer]
  expect(chunk.toString()).toBe('hello')
  stream.destroy()
  await expect(openStream({ socket }, '/v1/other')).rejects.toMatchObject({ code: 'CONTROL_NOT_FOUND' })
})
