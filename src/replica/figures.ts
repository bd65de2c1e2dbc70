/** Measured times as events carry them. */
import type { EventDetails } from './event-log.ts'

/** To hundredths: of milliseconds, more is noise. */
export function roundedFigure(value: number): number {
  return Math.round(value * 100) / 100
}

export function roundedFigures(details: EventDetails): EventDetails {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]) => [
      name,
      typeof value === 'number' ? roundedFigure(value) : value,
    ]),
  )
}
