/** What a build tells about itself while it runs, and how that is shown on a terminal or in a log. */

export interface ImageProgress {
  /** waiting: for another build; index, download: apt; unpack, assemble: local; ready: the image is there. */
  readonly step: 'waiting' | 'index' | 'download' | 'unpack' | 'assemble' | 'ready'
  /** Done of this step, 0 to 1; null where nobody knows. */
  readonly fraction: number | null
  readonly detail: string
}

export type ImageProgressListener = (progress: ImageProgress) => void

const STEP_TITLES: Record<ImageProgress['step'], string> = {
  waiting: 'Waiting',
  index: 'Package index',
  download: 'Downloading',
  unpack: 'Unpacking',
  assemble: 'Assembling',
  ready: 'Ready',
}

/** Wide enough to see movement, narrow enough for an 80-column terminal beside the texts. */
const BAR_CELLS = 24
const TITLE_CELLS = 13
const COLUMNS_FALLBACK = 80
const ERASE_LINE = '\r\x1b[K'

export interface ProgressSink {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  write(text: string): unknown
}

/**
 * Shows progress on `sink` (standard error): one line that is drawn over on a terminal, else one plain line for
 * each step.
 */
export function progressDisplay(sink: ProgressSink): ImageProgressListener {
  return sink.isTTY === true ? drawBar(sink) : logSteps(sink)
}

function drawBar(sink: ProgressSink): ImageProgressListener {
  return (progress) => {
    const filled = Math.round(clamp(progress.fraction ?? 0) * BAR_CELLS)
    const bar = progress.fraction === null ? ' '.repeat(BAR_CELLS) : '█'.repeat(filled).padEnd(BAR_CELLS, '░')
    const line = `${STEP_TITLES[progress.step].padEnd(TITLE_CELLS)} ${bar} ${progress.detail}`
    // A line that wraps cannot be drawn over.
    const shown = line.slice(0, (sink.columns ?? COLUMNS_FALLBACK) - 1)
    sink.write(ERASE_LINE + shown + (progress.step === 'ready' ? '\n' : ''))
  }
}

function logSteps(sink: ProgressSink): ImageProgressListener {
  let last: ImageProgress['step'] | null = null
  return (progress) => {
    if (progress.step === last) return
    last = progress.step
    sink.write(`${STEP_TITLES[progress.step]}: ${progress.detail}\n`)
  }
}

function clamp(fraction: number): number {
  return Math.min(1, Math.max(0, fraction))
}
