/** What a set of measurements comes to. Medians, because one disturbed run should not move a figure. */

export interface Summary {
  readonly count: number
  readonly median: number
  readonly least: number
  readonly greatest: number
}

/** Throws a RangeError when there is nothing to sum up. */
export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b)
  return {
    count: sorted.length,
    median: quantile(sorted, 0.5),
    least: quantile(sorted, 0),
    greatest: quantile(sorted, 1),
  }
}

/** `share` from 0 (least) to 1 (greatest), of values in ascending order; between two neighbours in proportion. */
export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) throw new RangeError('nothing was measured')
  const place = share * (sorted.length - 1)
  const below = Math.floor(place)
  const above = Math.ceil(place)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}
