/** Running programs inside a namespace that somebody holds. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { type NamespaceHolder, TOOL_PATH } from './namespace-holder.ts'

export interface Finished {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** As root, or as root of a user namespace that anybody may make. */
export type Privilege = 'root' | 'user'

export function enter(holder: NamespaceHolder, namespaces: readonly string[]): string[] {
  return ['nsenter', '--target', String(holder.pid), ...namespaces, '--']
}

export function spawnIn(
  holder: NamespaceHolder,
  privilege: Privilege,
  program: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const user = privilege === 'root' ? [] : ['--user', '--preserve-credentials']
  const [nsenter, ...before] = enter(holder, [...user, '--net'])
  return spawn(nsenter, [...before, program, ...args], {
    ...options,
    env: { ...(options.env ?? process.env), PATH: TOOL_PATH },
  })
}

export async function finish(child: ChildProcess, input: string): Promise<Finished> {
  let [stdout, stderr] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  // It may end before it has read everything.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(input)
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { status, stdout, stderr }
}

export async function must(running: Promise<Finished>): Promise<Finished> {
  const finished = await running
  if (finished.status !== 0)
    throw new Error(`${finished.stderr.trim() || `ended with status ${finished.status}`}`)
  return finished
}

/** What a program printed; rejects with what it complained of if it failed. */
export async function mustFinish(child: ChildProcess): Promise<string> {
  return (await must(finish(child, ''))).stdout
}
