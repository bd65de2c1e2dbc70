import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Assembler } from '../src/machine/cpu/isa-test/assembler.ts'
import { writeElf } from '../src/machine/cpu/isa-test/elf.ts'
import { digestLine, MachineProcess } from './machine-process.ts'

const RAM = 0x8000_0000
const UART = 0x1000_0000
const SYSCON = 0x0010_0000
const SYSCON_RESET = 0x7777
const INSTRET = 0xc02
/** A guest that resets itself does so every half of this. */
const RESTARTS_INSTRUCTIONS = 100_000
const [ZERO, T0, T1, T2, A0] = [0, 5, 6, 7, 10]

let directory: string
const file = (name: string) => join(directory, name)

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'machine-verbs-'))
})

afterEach(() => rmSync(directory, { recursive: true }))

/** A program: `emit` writes it, the value it leaves in a0 goes to `tohost`. */
function program(name: string, emit: (asm: Assembler) => void): string {
  const asm = new Assembler(RAM)
  emit(asm)
  const tohost = asm.label('tohost')
  asm.loadAddress(T0, tohost)
  asm.emit('sd', A0, T0, 0)
  asm.emit('jal', ZERO, 0)
  asm.align(64)
  asm.bind(tohost)
  asm.align(64)
  const path = file(name)
  const image = asm.finish()
  writeFileSync(
    path,
    writeElf({ base: RAM, bytes: image, zeroBytes: 64, symbols: { tohost: asm.addressOf(tohost) } }),
  )
  return path
}

const exiting = (status: number) => program(`exit-${status}`, (asm) => asm.li(A0, status * 2 + 1))

/** Counts down `turns` loops, then says ok on the serial port and ends with status 0. */
const counting = (turns: number) =>
  program('counting', (asm) => {
    asm.li(T1, turns)
    const loop = asm.here()
    asm.emit('addi', T1, T1, -1)
    asm.emitTo(loop, 'bne', T1, ZERO)
    asm.li(T0, UART)
    for (const letter of 'ok\n') {
      asm.li(T2, letter.charCodeAt(0))
      asm.emit('sb', T2, T0, 0)
    }
    asm.li(A0, 1)
  })

/** Says hello and resets the machine, until the count of retired instructions, which no reset takes back, is large enough. */
const restarting = () =>
  program('restarting', (asm) => {
    asm.li(T0, UART)
    asm.li(T2, '#'.charCodeAt(0))
    asm.emit('sb', T2, T0, 0)
    const done = asm.label()
    asm.emit('csrrs', T1, INSTRET, 0)
    asm.li(T2, RESTARTS_INSTRUCTIONS)
    asm.emitTo(done, 'bltu', T2, T1)
    asm.li(T1, RESTARTS_INSTRUCTIONS / 4)
    const loop = asm.here()
    asm.emit('addi', T1, T1, -1)
    asm.emitTo(loop, 'bne', T1, ZERO)
    asm.li(T0, SYSCON)
    asm.li(T1, SYSCON_RESET)
    asm.emit('sw', T1, T0, 0)
    asm.bind(done)
    asm.li(A0, 1)
  })

async function run(...args: readonly string[]) {
  const machine = new MachineProcess(...args)
  machine.closeInput()
  return machine.ended()
}

describe('machine run --bare', () => {
  it('ends with the status written to tohost; one too large for a byte is no success', async () => {
    for (const [status, expected] of [
      [0, 0],
      [1, 1],
      [42, 42],
      [255, 255],
      [256, 255],
    ]) {
      const ended = await run('run', '--bare', exiting(status), '--memory', '64M')
      expect(ended).toMatchObject({ status: expected, stdout: '', stderr: '' })
    }
  })

  it('has the console on stdout and the digest on stderr, the same in every engine', async () => {
    const elf = counting(200_000)
    const digests = new Set<string>()
    for (const more of [[], ['--engine', 'interpreter'], ['--slice', '777']]) {
      const ended = await run('run', '--bare', elf, '--memory', '64M', '--digest', ...more)
      expect(ended).toMatchObject({ status: 0, stdout: 'ok\n' })
      const { retired } = digestLine(ended)
      expect(retired).toBeGreaterThan(400_000)
      digests.add(String(retired))
    }
    // The retired count is the program's alone; the digest also holds the time at which it ran.
    expect(digests.size).toBe(1)
  })
})

describe('machine replay', () => {
  it('reaches the same digest and count', async () => {
    const recorded = await run('run', '--bare', counting(3_000_000), '--record', file('log'), '--digest')
    expect(recorded.status).toBe(0)
    for (const more of [[], ['--engine', 'interpreter'], ['--engine', 'regions', '--slice', '10007']]) {
      const replayed = await run('replay', file('log'), '--digest', ...more)
      expect(replayed).toMatchObject({ status: 0, stdout: 'ok\n', stderr: recorded.stderr })
    }
  })

  it('goes through the resets of a guest as through the rest of its life', async () => {
    const recorded = await run('run', '--bare', restarting(), '--record', file('log'), '--digest')
    expect(recorded).toMatchObject({ status: 0, stdout: '###' })
    for (const more of [[], ['--engine', 'interpreter', '--slice', '997']]) {
      const replayed = await run('replay', file('log'), '--digest', ...more)
      expect(replayed).toMatchObject({ status: 0, stdout: '###' })
      expect(digestLine(replayed)).toEqual(digestLine(recorded))
    }
  })

  it('of a recording killed with SIGKILL replays what was written, and says that it is truncated', async () => {
    const endless = program('endless', (asm) => {
      asm.li(T0, UART)
      asm.li(T1, '.'.charCodeAt(0))
      const loop = asm.here()
      asm.emit('sb', T1, T0, 0)
      asm.emitTo(loop, 'jal', ZERO)
    })
    const recording = new MachineProcess('run', '--bare', endless, '--memory', '64M', '--record', file('log'))
    await recording.console('.'.repeat(1000))
    recording.kill('SIGKILL')
    expect((await recording.ended()).signal).toBe('SIGKILL')
    const replayed = await run('replay', file('log'), '--digest')
    expect(replayed).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('the log is truncated at byte'),
    })
    expect(replayed.stdout.length).toBeGreaterThanOrEqual(1000)
    const whole = digestLine(replayed)
    truncateSync(file('log'), readFileSync(file('log')).length - 1)
    const shorter = digestLine(await run('replay', file('log'), '--digest'))
    expect(shorter.retired).toBeLessThan(whole.retired)
  })

  it('refuses an altered log at the byte, after the frames before it', async () => {
    await run('run', '--bare', counting(3_000_000), '--record', file('log'))
    const log = readFileSync(file('log'))
    log[log.length - 40] ^= 0x10
    writeFileSync(file('log'), log)
    expect(await run('replay', file('log'))).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^error FRAME_CORRUPT: .*\(at byte \d+\)\nnext: /),
    })
    log[20] ^= 1
    writeFileSync(file('log'), log)
    expect(await run('replay', file('log'))).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^error LOG_HEADER_CORRUPT: /),
    })
  })
})

describe('bad input', () => {
  it('is a typed error and a stable exit code, never a crash', async () => {
    const elf = exiting(0)
    const noise = file('noise')
    writeFileSync(noise, new Uint8Array(100_000).fill(0x5a))
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const cases: [string[], string, number][] = [
      [['run'], 'MACHINE_OPTIONS', 2],
      [['run', '--bare', elf, '--kernel', elf], 'MACHINE_OPTIONS', 2],
      [['run', '--bare', elf, '--slice', '0'], 'MACHINE_OPTIONS', 2],
      [['run', '--bare', elf, '--memory', 'lots'], 'MEMORY_INVALID', 2],
      [['run', '--bare', elf, '--net', 'nowhere'], 'NET_ADDRESS_INVALID', 2],
      [['run', '--bare', file('none')], 'MACHINE_FILE_MISSING', 3],
      [['run', '--bare', directory], 'MACHINE_FILE_UNREADABLE', 1],
      [['run', '--bare', noise], 'ELF_NOT_RISCV', 1],
      [['run', '--kernel', noise], 'BOOT_KERNEL_NOT_IMAGE', 1],
      [['run', '--bare', elf, '--disk', file('none')], 'DISK_NOT_FOUND', 3],
      [['run', '--bare', elf, '--disk', noise], 'DISK_SIZE', 1],
      [['run', '--bare', elf, '--net', `unix:${file('none')}`], 'MACHINE_NET_UNREACHABLE', 3],
      [['run', '--bare', elf, '--publish', `${port}:80`], 'NET_PORT_IN_USE', 4],
      [['run', '--bare', elf, '--record', join(file('none'), 'log')], 'MACHINE_LOG_UNWRITABLE', 1],
      [['replay', file('none')], 'MACHINE_FILE_MISSING', 3],
      [['replay', noise], 'LOG_NOT_A_LOG', 1],
    ]
    try {
      for (const [args, code, status] of cases) {
        const ended = await run(...args)
        expect({ args, ...ended }).toMatchObject({
          args,
          status,
          stdout: '',
          stderr: expect.stringMatching(new RegExp(`^error ${code}: .*\\nnext: .*\\n$`)),
        })
      }
    } finally {
      server.close()
    }
  })

  it('and a guest that can never be woken ends the machine instead of hanging it', async () => {
    const asleep = program('asleep', (asm) => asm.emit('wfi'))
    expect(await run('run', '--bare', asleep, '--memory', '64M')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('error MACHINE_ASLEEP'),
    })
  })
})
