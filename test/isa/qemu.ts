/** Runs a bare-metal image on QEMU's `virt` machine and returns what it wrote. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RESULTS_FILE } from '../../src/machine/cpu/isa-test/exit.ts'

export interface QemuOptions {
  /** Extra arguments, for instance `-singlestep` to compare QEMU with itself. */
  readonly extraArguments?: readonly string[]
  /** After this long without an end the run counts as hung. */
  readonly timeoutMs?: number
}

const BINARY = 'qemu-system-riscv64'
/** RV64GC with the bit-manipulation extensions of the application profiles; what we do not have is off. */
export const QEMU_CPU = 'rv64,zba=true,zbb=true,zbs=true,zbc=false,sstc=true'
/** A batch takes well under a second; this only ends a hung one. */
const TIMEOUT_MS = 60_000
const MEMORY = '128M'

/** Whether QEMU is installed. Tests that need it say so instead of passing silently. */
export async function qemuVersion(): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(BINARY, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    child.on('error', () => resolve(null))
    child.on('close', (code) => resolve(code === 0 ? (output.split('\n')[0] ?? '') : null))
  })
}

/** The bytes the image wrote. Throws an Error with QEMU's own words when it failed, hung or wrote nothing. */
export async function runQemu(elf: Uint8Array, options: QemuOptions = {}): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'isa-qemu-'))
  try {
    await writeFile(join(directory, 'image.elf'), elf)
    const child = spawn(
      BINARY,
      [
        ['-M', 'virt', '-cpu', QEMU_CPU, '-smp', '1', '-m', MEMORY, '-bios', 'none', '-kernel', 'image.elf'],
        ['-nodefaults', '-display', 'none', '-serial', 'none', '-monitor', 'none'],
        ['-semihosting-config', 'enable=on,target=native', ...(options.extraArguments ?? [])],
      ].flat(),
      { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let diagnostics = ''
    child.stderr.on('data', (chunk: Buffer) => {
      diagnostics += chunk.toString()
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? TIMEOUT_MS)
    const ended = await new Promise<string>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => resolve(signal ?? String(code)))
    })
    clearTimeout(timer)
    if (ended !== '0') throw new Error(`${BINARY} ended with ${ended}: ${diagnostics.trim() || 'no message'}`)
    return await readFile(join(directory, RESULTS_FILE))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
