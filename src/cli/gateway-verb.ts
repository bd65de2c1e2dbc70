/** `gateway`: the network of a cluster of several machines, in the foreground. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { extname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { z } from 'zod'
import { ClusterError } from '../cluster/errors.ts'
import { writeGatewayRecord } from '../cluster/gateway-record.ts'
import { ClusterLayout, stateDirectory } from '../cluster/layout.ts'
import { readClusterState, writeClusterState } from '../cluster/lifecycle.ts'
import { isLoopback } from '../security/links.ts'
import { openStore } from '../store/open.ts'
import { type DirectoryFlag, withDirectory } from './cluster-verbs.ts'

const GATEWAY_MODULE = new URL(`../net/gateway-main${extname(import.meta.url)}`, import.meta.url)

/** What the gateway's process says once it listens. */
const placesSchema = z.object({
  control: z.string(),
  links: z.string(),
  remoteControl: z.string().nullable(),
  pid: z.int(),
})

interface GatewayFlags extends DirectoryFlag {
  readonly store?: string
  readonly listen: string
}

export function registerGatewayVerb(program: Command): void {
  withDirectory(program.command('gateway'))
    .description('be the network of a cluster: published ports are sockets of this machine')
    .option('--store <url>', 'the store of the cluster; the one of this directory unless given')
    .option(
      '--listen <address>',
      'address for the hosts; nothing listens beyond loopback unless asked',
      '127.0.0.1',
    )
    .action(async (flags: GatewayFlags) => {
      const layout = new ClusterLayout(stateDirectory(flags.dir))
      const before = readClusterState(layout)
      const url = flags.store ?? before?.store
      if (url === undefined) {
        throw new ClusterError(
          'CLUSTER_NOT_UP',
          `${layout.directory} belongs to no cluster yet: --store is needed.`,
        )
      }
      mkdirSync(layout.gateway, { recursive: true, mode: 0o700 })
      const child = spawn(process.execPath, [GATEWAY_MODULE.pathname, ...argumentsOf(layout, flags.listen)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => child.kill(signal))
      const ended = once(child, 'exit')
      const line = await Promise.race([firstLine(child.stdout), ended.then(() => null)])
      if (line === null) throw new ClusterError('CLUSTER_START_FAILED', 'The gateway ended at its start.')
      const { control, remoteControl, pid } = placesSchema.parse(JSON.parse(line))
      const store = await openStore(url)
      await writeGatewayRecord(store, { control: remoteControl ?? control })
      await store.close()
      writeClusterState(layout, { version: 2, store: url, hosts: before?.hosts ?? [], gateway: { pid } })
      process.stdout.write(
        `gateway (pid ${pid}) serves the cluster of ${url} at ${remoteControl ?? control}\n`,
      )
      await ended
    })
}

function argumentsOf(layout: ClusterLayout, address: string): string[] {
  const directory = ['--dir', layout.gateway]
  if (isLoopback(address)) return directory
  const place = `tls:${address}:0`
  const identity = existsSync(layout.identity) ? ['--identity', layout.identity] : []
  return [...directory, ...identity, '--links', place, '--control', place]
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string | null> {
  for await (const line of createInterface({ input: stream })) return line
  return null
}
