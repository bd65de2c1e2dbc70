/**
 * The header of a log file: the machine's configuration as JSON, images left out. JSON, because a person who
 * finds a log should see with `head -c` what it is of; the frames, of which there are millions, are binary.
 */
import { z } from 'zod'
import { type BootConfig, type MachineConfig, MEMORY_BYTES_MAX } from '../machine/config.ts'
import { LogError } from './errors.ts'

/** A kernel with everything built in is 50 MB, an initramfs of a whole distribution a few hundred. */
export const LOG_IMAGE_BYTES_MAX = 1024 * 1024 * 1024
/** The kernel cuts its command line at 4096 bytes. */
export const APPEND_BYTES_MAX = 4096
/** More than virtio slots allow for. */
const DEVICES_MAX = 32
const MEMORY_BYTES_MIN = 16 * 1024 * 1024

/** How an image stands in the file: zstd, one after the other behind the header, in the header's order. */
const storedImage = z.strictObject({
  role: z.enum(['kernel', 'initrd', 'elf']),
  /** Bytes before compression. */
  length: z.int().min(0).max(LOG_IMAGE_BYTES_MAX),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Bytes in the file. zstd grows what it cannot shrink by less than this. */
  storedLength: z
    .int()
    .min(1)
    .max(LOG_IMAGE_BYTES_MAX + 1024 * 1024),
})

const hex = (bytesMin: number, bytesMax: number) =>
  z.string().regex(new RegExp(`^(?:[0-9a-f]{2}){${bytesMin},${bytesMax}}$`))

/** Decimal digits of an unsigned 64-bit integer: JSON numbers are not exact that far. */
const decimal = z.string().regex(/^[0-9]{1,20}$/)

/** What the file holds for each kind of boot, in this order. */
const IMAGE_ROLES: { readonly [kind in 'linux' | 'bare' | 'snapshot']: readonly string[] } = {
  linux: ['kernel', 'kernel initrd'],
  bare: ['elf'],
  snapshot: [''],
}

const fields = z.strictObject({
  program: z.string().max(100),
  memoryBytes: z
    .int()
    .min(MEMORY_BYTES_MIN)
    .max(MEMORY_BYTES_MAX)
    .multipleOf(1024 * 1024),
  boot: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('linux'), append: z.string().max(APPEND_BYTES_MAX) }),
    z.strictObject({ kind: z.literal('bare') }),
    z.strictObject({
      kind: z.literal('snapshot'),
      servesSbi: z.boolean(),
      tohost: z.int().min(0).nullable(),
      digest: hex(8, 8),
      retired: decimal,
      clock: decimal,
    }),
  ]),
  nics: z.array(z.strictObject({ mac: hex(6, 6) })).max(DEVICES_MAX),
  disks: z
    .array(z.strictObject({ sizeBytes: z.int().min(0).multipleOf(512), readOnly: z.boolean() }))
    .max(DEVICES_MAX),
  rngSeed: hex(32, 64),
  /** Nanoseconds since 1970. */
  epochNs: decimal.optional(),
  images: z.array(storedImage).max(2),
})

const logHeader = fields.refine(
  ({ boot, images }) => IMAGE_ROLES[boot.kind].includes(images.map(({ role }) => role).join(' ')),
  { path: ['images'], message: 'not the images that this kind of boot needs' },
)

export type StoredImage = z.infer<typeof storedImage>
export type LogHeader = z.infer<typeof logHeader>

/** The images of a configuration, in the order in which they stand in the file. */
export function imagesOf(config: MachineConfig): { role: StoredImage['role']; bytes: Uint8Array }[] {
  const { boot } = config
  if (boot.kind === 'bare') return [{ role: 'elf', bytes: boot.elf }]
  if (boot.kind === 'snapshot') return []
  const kernel = { role: 'kernel' as const, bytes: boot.kernel }
  return boot.initrd === null ? [kernel] : [kernel, { role: 'initrd', bytes: boot.initrd }]
}

function bootFields(boot: BootConfig): LogHeader['boot'] {
  switch (boot.kind) {
    case 'linux':
      return { kind: 'linux', append: boot.append }
    case 'bare':
      return { kind: 'bare' }
    case 'snapshot':
      return {
        ...boot,
        digest: digestText(boot.digest),
        retired: String(boot.retired),
        clock: String(boot.clock),
      }
  }
}

/** Throws LOG_TOO_LARGE or LOG_HEADER_MALFORMED for a configuration that could not be read back. */
export function headerFromConfig(config: MachineConfig, images: StoredImage[], program: string): LogHeader {
  const header: LogHeader = {
    program,
    memoryBytes: config.memoryBytes,
    boot: bootFields(config.boot),
    nics: config.nics.map(({ mac }) => ({ mac: Buffer.from(mac).toString('hex') })),
    disks: config.disks.map(({ sizeBytes, readOnly }) => ({ sizeBytes, readOnly })),
    rngSeed: Buffer.from(config.rngSeed).toString('hex'),
    ...(config.epochNs === undefined ? {} : { epochNs: String(config.epochNs) }),
    images,
  }
  const tooLarge = images.find(({ length }) => length > LOG_IMAGE_BYTES_MAX)
  if (tooLarge) {
    throw new LogError('LOG_TOO_LARGE', 0, `the ${tooLarge.role} has ${tooLarge.length} bytes`)
  }
  return check(header, 0)
}

export function configFromHeader(
  header: LogHeader,
  images: ReadonlyMap<StoredImage['role'], Uint8Array>,
): MachineConfig {
  const image = (role: StoredImage['role']): Uint8Array => {
    const bytes = images.get(role)
    if (bytes === undefined) throw new Error(`a checked header without the ${role}`)
    return bytes
  }
  const boot = (): BootConfig => {
    switch (header.boot.kind) {
      case 'bare':
        return { kind: 'bare', elf: image('elf') }
      case 'linux':
        return {
          kind: 'linux',
          kernel: image('kernel'),
          initrd: images.get('initrd') ?? null,
          append: header.boot.append,
        }
      case 'snapshot': {
        const { digest, retired, clock } = header.boot
        return {
          ...header.boot,
          digest: BigInt(`0x${digest}`),
          retired: BigInt(retired),
          clock: BigInt(clock),
        }
      }
    }
  }
  return {
    memoryBytes: header.memoryBytes,
    boot: boot(),
    nics: header.nics.map(({ mac }) => ({ mac: bytesFromHex(mac) })),
    disks: header.disks,
    rngSeed: bytesFromHex(header.rngSeed),
    ...(header.epochNs === undefined ? {} : { epochNs: BigInt(header.epochNs) }),
  }
}

/** `offset` is where the JSON lies in the file. */
export function parseHeader(json: Uint8Array, offset: number): LogHeader {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json))
  } catch (cause) {
    throw new LogError('LOG_HEADER_MALFORMED', offset, 'the header is no JSON', { cause })
  }
  return check(value, offset)
}

function check(value: unknown, offset: number): LogHeader {
  const result = logHeader.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new LogError('LOG_HEADER_MALFORMED', offset, `${issue.path.join('.')}: ${issue.message}`)
}

function digestText(digest: bigint): string {
  return digest.toString(16).padStart(16, '0')
}

function bytesFromHex(hexDigits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(hexDigits, 'hex'))
}
