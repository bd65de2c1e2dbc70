import { describe, expect, it } from 'vitest'
import { CommandFailure, runCommand } from './command.ts'

const node = (program: string, onStatus?: (line: string) => void) =>
  runCommand(process.execPath, ['--eval', program], onStatus === undefined ? {} : { onStatus })

describe('running a command', () => {
  it('returns its output as it was, and passes on its status lines', async () => {
    const lines: string[] = []
    const output = await node(
      `fs.writeSync(3, 'one\\ntw'); fs.writeSync(3, 'o\\n'); fs.writeSync(1, Buffer.from([0, 255, 10]))`,
      (line) => lines.push(line),
    )
    expect(output).toEqual(Buffer.from([0, 255, 10]))
    expect(lines).toEqual(['one', 'two'])
  })

  it('says how it failed and the end of what it complained of', async () => {
    const failing = node(`for (let i = 1; i <= 50; i++) console.error('line', i); process.exit(7)`)
    await expect(failing).rejects.toThrow(/status 7/)
    const complaint: string = await failing.catch((error) => error.complaint)
    expect(complaint.split('\n').at(-1)).toBe('line 50')
    expect(complaint).not.toMatch(/line 1$/m)
    await expect(node(`process.kill(process.pid, 'SIGKILL')`)).rejects.toThrow(CommandFailure)
  })

  it('has one language, whatever the user’s', async () => {
    expect((await node('console.log(process.env.LC_ALL)')).toString()).toBe('C\n')
  })

  it('tells a program that is not there', async () => {
    await expect(runCommand('/nonexistent/apt-get', [])).rejects.toMatchObject({
      code: 'IMAGE_TOOL_MISSING',
      message: expect.stringContaining('/nonexistent/apt-get'),
      next: expect.stringContaining('manifest.json'),
    })
  })
})
