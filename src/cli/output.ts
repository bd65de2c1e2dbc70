/** How verbs show lists and times to people. */

/** Columns as wide as their widest cell, two spaces between them. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows]
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column].length)))
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
    .concat('\n')
}

/** `1.2 G`: instructions, in steps of a thousand. */
export function formatCount(count: number): string {
  const units = ['', 'k', 'M', 'G', 'T']
  let scaled = count
  let unit = 0
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000
    unit++
  }
  return unit === 0 ? String(scaled) : `${scaled.toPrecision(3)} ${units[unit]}`
}

/** A line for each object, or one array: what `--json` prints. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
