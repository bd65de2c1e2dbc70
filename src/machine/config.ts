/**
 * The whole machine's configuration as plain data. Together with the log it determines everything, so it is
 * part of the log: `rngSeed` too, which reaches the guest in the device tree.
 */
export interface MachineConfig {
  /** Bytes of guest RAM, a multiple of 1 MiB, 16 MiB to MEMORY_BYTES_MAX. */
  readonly memoryBytes: number
  readonly boot: BootConfig
  readonly nics: readonly NicConfig[]
  readonly disks: readonly DiskConfig[]
  /** 32 to 64 random bytes for `/chosen/rng-seed`. */
  readonly rngSeed: Uint8Array
  /** What the real-time clock shows at power-on: nanoseconds since 1970-01-01 UTC. Absent: 0. */
  readonly epochNs?: bigint
}

export type BootConfig =
  /** A Linux Image entered in S-mode; the machine itself is the firmware. */
  | {
      readonly kind: 'linux'
      readonly kernel: Uint8Array
      readonly initrd: Uint8Array | null
      readonly append: string
    }
  /** An ELF entered in M-mode at its entry; it ends by writing `tohost`. */
  | { readonly kind: 'bare'; readonly elf: Uint8Array }
  | SnapshotStart

/**
 * Nothing is booted: the machine goes on from the state in a snapshot, which it must be given before it runs. The
 * snapshot is named by what it holds, so that a log that starts from it means one state and no other.
 */
export interface SnapshotStart {
  readonly kind: 'snapshot'
  /** Whether the machine is the firmware of its guest, as with `linux`. */
  readonly servesSbi: boolean
  /** Physical address whose stores end the machine, as with `bare`, or null. */
  readonly tohost: number | null
  /** `Machine.fullDigest()` of the state. */
  readonly digest: bigint
  /** Instructions retired since power-on. */
  readonly retired: bigint
  /** Guest time, in ticks since power-on. */
  readonly clock: bigint
}

export interface NicConfig {
  /** Six bytes. */
  readonly mac: Uint8Array
}

export interface DiskConfig {
  /** A multiple of 512. */
  readonly sizeBytes: number
  readonly readOnly: boolean
}

/** Guest RAM, the machine's state and a margin must fit the 4 GiB a 32-bit Wasm memory can address. */
export const MEMORY_BYTES_MAX = 3 * 1024 * 1024 * 1024
