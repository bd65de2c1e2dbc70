/**
 * The diagnostics of agents and replicas: one JSON object a line on stderr, which is their log file. `part`, `host`, `vm`
 * and `replica` say who speaks; errors have `code` and `next`. What a process says by itself when it crashes (Node, V8)
 * is free text among them.
 */
import { type Logger, pino } from 'pino'
import { describeError } from '../control/server.ts'

export interface LogFields {
  readonly part: 'agent' | 'replica'
  readonly host?: string
  readonly vm?: string
  readonly replica?: string
}

/** Each line is written before the call returns: the next thing may be the end of the process. */
export function processLog(fields: LogFields): Logger {
  return pino({ base: { pid: process.pid, ...fields } }, pino.destination({ dest: 2, sync: true }))
}

/** The level says how bad it is: `fatal` when the process ends of it, `error` otherwise. */
export function logError(log: Logger, level: 'fatal' | 'error' | 'warn', error: unknown): void {
  const { code, message, next } = describeError(error)
  log[level]({ code, next }, message)
}

/** What of a line is shown to people; everything else in it says who spoke, which they know from the file. */
interface SpokenLine {
  readonly msg?: unknown
  readonly code?: unknown
  readonly next?: unknown
}

/** A log file's text as the command line quotes it: what was said, without the fields. Lines of free text stay. */
export function readableLog(text: string): string {
  return text
    .split('\n')
    .map((line) => {
      const spoken = spokenLine(line)
      if (typeof spoken?.msg !== 'string') return line
      const { msg, code, next } = spoken
      const what = typeof code === 'string' ? `error ${code}: ${msg}` : msg
      return typeof next === 'string' ? `${what}\nnext: ${next}` : what
    })
    .join('\n')
}

function spokenLine(line: string): SpokenLine | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line) as SpokenLine
  } catch {
    return null
  }
}
