/** `console`: a terminal on the guest's serial console that stays through takeovers. */
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Cluster } from '../cluster/cluster.ts'
import { type DirectoryFlag, inCluster, withDirectory } from './cluster-verbs.ts'

/** Ctrl-], as telnet and virsh have it. */
const DETACH = 0x1d
/** Ctrl-P Ctrl-Q, as docker has it. */
const DETACH_FIRST = 0x10
const DETACH_SECOND = 0x11

/** How often a virtual machine that is being taken over is looked for again. */
const LOOK_MS = 50

export function registerConsoleVerb(program: Command): void {
  withDirectory(program.command('console'))
    .description('attach to the serial console; detach with Ctrl-] or Ctrl-P Ctrl-Q')
    .argument('<name>')
    .option('--no-history', 'do not show what was written before')
    .action(async (name: string, flags: DirectoryFlag & { history: boolean }) => {
      await inCluster(flags, (cluster) => attach(cluster, name, flags.history))
    })
}

async function attach(cluster: Cluster, name: string, history: boolean): Promise<void> {
  const { stdin } = process
  let stream = await cluster.console(name, { history })
  let detached = false
  const keys = new DetachKeys()
  const detach = () => {
    detached = true
    stream.destroy()
  }
  process.stderr.write(`attached to ${name}; Ctrl-] detaches\r\n`)
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', (data: Buffer) => {
    const { pass, detach: wish } = keys.push(data)
    if (pass.length > 0 && !stream.destroyed) stream.write(pass)
    if (wish) detach()
  })
  stdin.on('end', detach)
  try {
    while (!detached) {
      await show(stream)
      if (detached) return
      const next = await reattach(cluster, name)
      if (next === null) return
      process.stderr.write(`\r\n[${name} was taken over]\r\n`)
      stream = next
    }
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.destroy()
    process.stderr.write('\r\n')
  }
}

/** Resolves when the stream ends, which it does when the replica behind it does. */
function show(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    stream.on('data', (data: Buffer) => process.stdout.write(data))
    stream.on('error', () => resolve())
    stream.on('close', () => resolve())
  })
}

/** Null when the virtual machine runs no more. */
async function reattach(cluster: Cluster, name: string): Promise<Duplex | null> {
  for (;;) {
    const status = await cluster.status(name)
    if (status.state === 'stopped') return null
    const stream = await cluster.console(name, { history: false }).catch(() => null)
    if (stream !== null) return stream
    await sleep(LOOK_MS)
  }
}

/** Finds the keys that detach in what is typed; everything else passes. */
export class DetachKeys {
  #first = false

  push(data: Uint8Array): { readonly pass: Uint8Array; readonly detach: boolean } {
    const pass: number[] = []
    for (const byte of data) {
      if (byte === DETACH || (this.#first && byte === DETACH_SECOND)) {
        return { pass: Uint8Array.from(pass), detach: true }
      }
      // A Ctrl-P that was no beginning of it is passed on with what follows.
      if (this.#first) pass.push(DETACH_FIRST)
      this.#first = byte === DETACH_FIRST
      if (!this.#first) pass.push(byte)
    }
    return { pass: Uint8Array.from(pass), detach: false }
  }
}
