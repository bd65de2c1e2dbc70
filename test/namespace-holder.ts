/**
 * The process that keeps a network namespace alive, and ends everything in it: when the pipe from the test closes, however the test
 * ended, it kills whatever else lives in its namespace, and with the last process the kernel removes the namespace with its
 * interfaces. So no namespace has a name that could be left behind.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

/** A shell has no `exec` in its way here: `cat` ends with the pipe, and what follows is done whoever has died. */
const HOLD = `
echo held
cat > /dev/null
while :; do
  left=
  for process in /proc/[0-9]*; do
    id=\${process#/proc/}
    [ "$id" = $$ ] && continue
    [ "$process/ns/net" -ef /proc/$$/ns/net ] || continue
    left=1
    kill -9 "$id" 2> /dev/null
  done
  [ -z "$left" ] && exit 0
  sleep 0.02
done
`

/** What distributions keep in directories that only the super-user has on the PATH: ip, tc and nft. */
export const TOOL_PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`

/** A process may start others while it is looked at; this many looks in a row find none that is new. */
const QUIET_LOOKS = 2

/** Looks at all processes, until giving up. */
const LOOKS_MAX = 200
const LOOK_AGAIN_MS = 5

export class NamespaceHolder {
  readonly pid: number
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #ended: Promise<unknown>
  readonly #inode: bigint

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>, ended: Promise<unknown>) {
    this.#child = child
    this.#ended = ended
    this.pid = child.pid!
    this.#inode = namespaceOf(this.pid)!
  }

  /** `command` enters a new namespace and goes on with the arguments that follow it. Rejects with what it said. */
  static async start(command: readonly string[]): Promise<NamespaceHolder> {
    const [program, ...args] = command
    // A session of its own: Ctrl-C is for the test, which then ends the holder's pipe.
    const child = spawn(program, [...args, 'sh', '-c', HOLD], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, PATH: TOOL_PATH },
    })
    child.stdin.on('error', () => undefined)
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const ended = new Promise((resolve) => {
      child.on('error', (error) => resolve(error))
      child.on('close', resolve)
    })
    const outcome = await Promise.race([once(child.stdout, 'data').then(() => 'held'), ended])
    if (outcome !== 'held') {
      throw new Error(
        `${command.join(' ')}: ${said.trim() || (outcome instanceof Error ? outcome.message : outcome)}`,
      )
    }
    return new NamespaceHolder(child, ended)
  }

  /** Ids of the processes that live in the namespace now, in the numbering of this test; the holder is none. */
  processes(): number[] {
    return readdirSync('/proc').flatMap((name) => {
      const pid = Number(name)
      if (!Number.isInteger(pid) || namespaceOf(pid) !== this.#inode) return []
      return pid === this.pid || statOf(pid)?.parent === this.pid ? [] : [pid]
    })
  }

  /** Stops every process, also those that are being started meanwhile. Resolves when all have stopped. */
  async stopAll(): Promise<number[]> {
    return this.#untilQuiet('SIGSTOP', (pid) => statOf(pid)?.state === 'T')
  }

  continueAll(pids: readonly number[]): void {
    for (const pid of pids) signal(pid, 'SIGCONT')
  }

  /** Kills every process before any can react to the death of another. Resolves when all are dead. */
  async killAll(): Promise<void> {
    await this.stopAll()
    await this.#untilQuiet('SIGKILL', () => false)
  }

  /** Kills what is in the namespace and lets it go; resolves when all are dead. */
  async end(): Promise<void> {
    this.#child.stdin.end()
    await this.#ended
  }

  async #untilQuiet(name: 'SIGSTOP' | 'SIGKILL', isDone: (pid: number) => boolean): Promise<number[]> {
    let quiet = 0
    for (let look = 0; look < LOOKS_MAX; look++) {
      const all = this.processes()
      const left = all.filter((pid) => !isDone(pid))
      for (const pid of left) signal(pid, name)
      quiet = left.length === 0 ? quiet + 1 : 0
      if (quiet === QUIET_LOOKS) return all
      if (left.length > 0) await sleep(LOOK_AGAIN_MS)
    }
    throw new Error(`${name} has not reached all of ${this.processes()} in ${LOOKS_MAX} looks`)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}

/** Null for a process that is gone, a zombie, or somebody else's. */
function namespaceOf(pid: number): bigint | null {
  try {
    return statSync(`/proc/${pid}/ns/net`, { bigint: true }).ino
  } catch {
    return null
  }
}

/** proc(5), /proc/pid/stat: the name, in parentheses, may hold anything. */
function statOf(pid: number): { readonly state: string; readonly parent: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, parent] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state, parent: Number(parent) }
  } catch {
    return null
  }
}
