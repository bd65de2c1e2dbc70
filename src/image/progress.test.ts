import { describe, expect, it } from 'vitest'
import { type ImageProgress, progressDisplay } from './progress.ts'

const STEPS: readonly ImageProgress[] = [
  { step: 'download', fraction: 0, detail: '18 packages' },
  { step: 'download', fraction: 0.5, detail: 'file 9 of 18 with a name that is far too long for one line' },
  { step: 'assemble', fraction: null, detail: 'kernel' },
  { step: 'ready', fraction: 1, detail: 'tiny' },
]

function shown(isTTY: boolean, columns?: number): string {
  let text = ''
  const show = progressDisplay({ isTTY, columns, write: (more: string) => (text += more) })
  for (const step of STEPS) show(step)
  return text
}

describe('progress of a build', () => {
  it('is one plain line a step where there is no terminal', () => {
    expect(shown(false)).toBe('Downloading: 18 packages\nAssembling: kernel\nReady: tiny\n')
  })

  it('is one line drawn over on a terminal, never wider than it', () => {
    const lines = shown(true, 50).split('\r\x1b[K').slice(1)
    expect(lines).toHaveLength(STEPS.length)
    for (const line of lines) expect(line.trimEnd().length).toBeLessThan(50)
    expect(lines[1]).toContain(`${'█'.repeat(12)}${'░'.repeat(12)}`)
    expect(lines.map((line) => line.endsWith('\n'))).toEqual([false, false, false, true])
  })
})
