/**
 * A strict reader of Prometheus's text exposition format, version 0.0.4, for tests: what a scraper could not read, or would
 * read as something else, is an error here. Conventions beyond the format are those that promtool's linter holds.
 */

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly samples: Sample[]
}

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped']

/** Throws at the first line that does not fit. */
export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  let help: { name: string; text: string } | null = null
  let family: Family | null = null
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.split('\n')) {
    const fail = (why: string) => new Error(`${why}: ${JSON.stringify(line)}`)
    if (line === '') continue
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line)
    if (comment !== null) {
      const [, kind, name, rest] = comment
      if (!METRIC_NAME.test(name)) throw fail('no metric name')
      if (kind === 'HELP') {
        help = { name, text: rest }
        continue
      }
      if (help?.name !== name) throw fail('a type without its help')
      if (!TYPES.includes(rest)) throw fail('no type')
      if (families.has(name)) throw fail('a metric twice')
      family = { name, help: help.text, type: rest, samples: [] }
      families.set(name, family)
      continue
    }
    const match = SAMPLE.exec(line)
    if (match === null) throw fail('no sample')
    const [, name, labels, value] = match
    if (family === null || !belongs(name, family)) throw fail('a sample of no metric')
    family.samples.push({ name, labels: parseLabels(labels ?? '', fail), value: parseValue(value, fail) })
  }
  return families
}

function belongs(name: string, { name: family, type }: Family): boolean {
  if (type !== 'histogram' && type !== 'summary') return name === family
  return ['_sum', '_count', ...(type === 'histogram' ? ['_bucket'] : [''])].some(
    (suffix) => name === family + suffix,
  )
}

function parseLabels(text: string, fail: (why: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text)
    if (match === null) throw fail('no label')
    if (match[1] in labels) throw fail('a label twice')
    labels[match[1]] = match[2]
  }
  return labels
}

/** As Go's ParseFloat reads it, which takes NaN in any case. */
function parseValue(text: string, fail: (why: string) => Error): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (text === '-Inf') return Number.NEGATIVE_INFINITY
  const value = Number(text)
  if (!/^nan$/i.test(text) && Number.isNaN(value)) throw fail('no number')
  return value
}

const UNITS = ['seconds', 'bytes']
const FOREIGN_UNITS = /_(ms|milliseconds|us|microseconds|minutes|hours|kb|kib|mb|mib|bits|percent)(_|$)/

/** What is wrong with a family by the conventions; empty when nothing is. */
export function lint({ name, type, help, samples }: Family): string[] {
  const wrong: string[] = []
  const isCounter = type === 'counter'
  if (isCounter !== name.endsWith('_total'))
    wrong.push(`${name}: _total is for counters, and for all of them`)
  if (FOREIGN_UNITS.test(name)) wrong.push(`${name}: not in base units`)
  if (type === 'histogram' && !UNITS.some((unit) => name.endsWith(`_${unit}`)))
    wrong.push(`${name}: a histogram without a unit`)
  if (/_(bucket|count|sum|info)$/.test(name)) wrong.push(`${name}: a reserved ending`)
  if (new RegExp(`_(${TYPES.join('|')})(_|$)`).test(name)) wrong.push(`${name}: a type in the name`)
  if (/[A-Z:]/.test(name)) wrong.push(`${name}: not in snake case`)
  if (!/^[A-Z].*\.$/.test(help)) wrong.push(`${name}: help that is no sentence`)
  const seen = new Set<string>()
  for (const sample of samples) {
    const key = `${sample.name} ${JSON.stringify(Object.entries(sample.labels).sort())}`
    if (seen.has(key)) wrong.push(`${key}: twice`)
    seen.add(key)
    if (isCounter && !(sample.value >= 0)) wrong.push(`${key}: a counter below 0`)
    if ('le' in sample.labels !== sample.name.endsWith('_bucket')) wrong.push(`${key}: le out of place`)
  }
  if (type === 'histogram') wrong.push(...lintBuckets(name, samples))
  return wrong
}

/** Bounds ascend to +Inf, counts never fall, and the last is the count. */
function lintBuckets(name: string, samples: readonly Sample[]): string[] {
  const wrong: string[] = []
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    const { le: _, ...labels } = sample.labels
    const key = JSON.stringify(Object.entries(labels).sort())
    groups.set(key, [...(groups.get(key) ?? []), sample])
  }
  for (const [key, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`)
    const count = group.find((sample) => sample.name === `${name}_count`)?.value
    if (!group.some((sample) => sample.name === `${name}_sum`)) wrong.push(`${name}${key}: no sum`)
    if (buckets.at(-1)?.labels.le !== '+Inf') wrong.push(`${name}${key}: the last bucket is not +Inf`)
    if (buckets.at(-1)?.value !== count) wrong.push(`${name}${key}: +Inf is not the count`)
    buckets.slice(1).forEach((bucket, i) => {
      const before = buckets[i]
      if (parseBound(bucket) <= parseBound(before)) wrong.push(`${name}${key}: bounds do not ascend`)
      if (bucket.value < before.value) wrong.push(`${name}${key}: counts fall`)
    })
  }
  return wrong
}

function parseBound({ labels }: Sample): number {
  return labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le)
}
