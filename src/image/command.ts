/** Runs the distribution's tools: output collected whole, failures typed, language fixed to be parsed. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { ImageError } from './errors.ts'

export interface CommandOptions {
  readonly cwd?: string
  /** Added to this process's environment. */
  readonly env?: { readonly [name: string]: string }
  /** Called for each line the command writes to file descriptor 3 (apt's `APT::Status-Fd`). */
  readonly onStatus?: (line: string) => void
}

/** The largest output wanted is one decompressed kernel module. */
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
/** Enough of a failed command's complaint to understand it, little enough to print. */
const COMPLAINT_LINES = 12

/** A command that ran and failed; the caller knows what that means. */
export class CommandFailure extends Error {
  readonly complaint: string

  constructor(program: string, ending: string, complaint: string) {
    super(`${program} ${ending}:\n${complaint}`)
    this.name = 'CommandFailure'
    this.complaint = complaint
  }
}

/**
 * What `program` wrote to standard output.
 *
 * @throws ImageError `IMAGE_TOOL_MISSING` if there is no such program.
 * @throws CommandFailure if it failed.
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const [output, errors] = [child.stdout, child.stderr] as [Readable, Readable]
  const status = child.stdio[3] as Readable
  const ended = new Promise<string | null>((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'ENOENT'
          ? new ImageError('IMAGE_TOOL_MISSING', `There is no program ${program} on this machine.`, { cause })
          : cause,
      )
    })
    child.once('close', (code, signal) =>
      resolve(code === 0 ? null : signal === null ? `failed with status ${code}` : `was ended by ${signal}`),
    )
  })
  createInterface({ input: status }).on('line', (line) => options.onStatus?.(line))
  const tooMuch = (): Error => {
    child.kill()
    return new CommandFailure(program, 'was stopped', `It wrote more than ${OUTPUT_BYTES_MAX} bytes.`)
  }
  const [ending, stdout, stderr] = await Promise.all([
    ended,
    collect(output, tooMuch),
    collect(errors, tooMuch),
  ])
  if (ending !== null) {
    const complaint = [stdout, stderr]
      .map((text) => text.toString('utf8').trim())
      .filter(Boolean)
      .join('\n')
    throw new CommandFailure(program, ending, complaint.split('\n').slice(-COMPLAINT_LINES).join('\n'))
  }
  return stdout
}

async function collect(stream: Readable, tooMuch: () => Error): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > OUTPUT_BYTES_MAX) throw tooMuch()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
