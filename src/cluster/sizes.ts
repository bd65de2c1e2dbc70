/** Sizes and ports as people write them on the command line. */
import { MEMORY_BYTES_MAX } from '../machine/config.ts'
import { CLONE_RATE_MIN } from '../replica/config.ts'
import { limitSchema } from '../replica/status.ts'
import { ClusterError } from './errors.ts'
import type { Publish } from './vm-record.ts'

const MIB = 1024 * 1024

/** The kernel and its initramfs do not fit less. */
export const MEMORY_BYTES_MIN = 64 * MIB

const UNITS: { readonly [unit: string]: number } = { '': MIB, K: 1024, M: MIB, G: 1024 * MIB }

/** `512M`, `1G`, `1.5G` or a number of MiB; a whole number of MiB from 64M to MEMORY_BYTES_MAX. */
export function parseMemory(text: string): number {
  const match = /^([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMG]?)(?:i?B)?$/i.exec(text.trim())
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2].toUpperCase()]
  if (!Number.isInteger(bytes / MIB) || bytes < MEMORY_BYTES_MIN || bytes > MEMORY_BYTES_MAX) {
    throw new ClusterError('MEMORY_INVALID', `${JSON.stringify(text)} is no size of memory here.`)
  }
  return bytes
}

/** `50%` of a core, as a share. */
export function parseCpuShare(text: string): number {
  const match = /^([0-9]{1,3}(?:\.[0-9]{1,2})?)%$/.exec(text.trim())
  const share = match === null ? Number.NaN : Number(match[1]) / 100
  if (!limitSchema.safeParse({ share }).success) {
    throw new ClusterError('CPU_LIMIT_INVALID', `${JSON.stringify(text)} is no share of a core here.`)
  }
  return share
}

/** `50M` a second, or `unlimited`: null. */
export function parseCloneRate(text: string): number | null {
  if (text === 'unlimited') return null
  const match = /^([0-9]{1,6})([MG])$/i.exec(text.trim())
  const bytes = match === null ? 0 : Number(match[1]) * UNITS[match[2].toUpperCase()]
  if (bytes >= CLONE_RATE_MIN) return bytes
  throw new ClusterError('CLONE_RATE_INVALID', `${JSON.stringify(text)} is no rate of cloning.`)
}

/** `8080:80`. */
export function parsePublish(text: string): Publish {
  const match = /^([0-9]{1,5}):([0-9]{1,5})$/.exec(text.trim())
  const [hostPort, guestPort] = match === null ? [0, 0] : [Number(match[1]), Number(match[2])]
  for (const port of [hostPort, guestPort]) {
    if (port < 1 || port > 65_535) {
      throw new ClusterError('PUBLISH_INVALID', `${JSON.stringify(text)} is no pair of ports.`)
    }
  }
  return { hostPort, guestPort }
}

/** `512M`. */
export function formatBytes(bytes: number): string {
  return bytes % (1024 * MIB) === 0 ? `${bytes / (1024 * MIB)}G` : `${Math.round(bytes / MIB)}M`
}
