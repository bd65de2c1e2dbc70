/**
 * Everything that crosses the machine's boundary, in either direction.
 *
 * The machine is a pure function: given the same state and the same inputs at the same places it reaches the
 * same state and makes the same outputs. So these two unions, with the guest clock and the retired counts, are
 * all that a log needs to hold and all that an output gate needs to hold back.
 */

/** Applied at the start of a slice, in order. */
export type MachineInput =
  /** An Ethernet frame (no FCS) arriving at a virtio-net device. */
  | { readonly kind: 'net-rx'; readonly nic: number; readonly frame: Uint8Array }
  /** Bytes typed at a console: the 16550 UART or the virtio console. */
  | { readonly kind: 'console-rx'; readonly port: ConsolePort; readonly data: Uint8Array }
  /** Random bytes that answer an `entropy-request`. */
  | { readonly kind: 'entropy'; readonly data: Uint8Array }
  /** The machine is another one than the one that was saved: GENERATION_ID_BYTES new, unique and random bytes. */
  | { readonly kind: 'generation'; readonly data: Uint8Array }
  /** The reset button: the machine boots again, in the same log. */
  | { readonly kind: 'reset' }
  /** A disk request has ended. `data` holds what a read returned and is empty otherwise. */
  | {
      readonly kind: 'disk-complete'
      readonly disk: number
      readonly id: number
      readonly ok: boolean
      readonly data: Uint8Array
    }

/** Made while a slice runs, taken after it, in order. */
export type MachineOutput =
  | { readonly kind: 'net-tx'; readonly nic: number; readonly frame: Uint8Array }
  | { readonly kind: 'console-tx'; readonly port: ConsolePort; readonly data: Uint8Array }
  | { readonly kind: 'entropy-request'; readonly bytes: number }
  /** `offset` and `length` in bytes; `data` only for writes. `id` is unique among the disk's pending requests. */
  | {
      readonly kind: 'disk-read'
      readonly disk: number
      readonly id: number
      readonly offset: number
      readonly length: number
    }
  | {
      readonly kind: 'disk-write'
      readonly disk: number
      readonly id: number
      readonly offset: number
      readonly data: Uint8Array
    }
  | { readonly kind: 'disk-flush'; readonly disk: number; readonly id: number }
  /**
   * off: the guest powered itself off (syscon or SBI SRST), or a bare-metal ELF wrote `tohost`; the machine is halted. reset:
   * the guest reset itself, or was reset, and boots again.
   */
  | { readonly kind: 'power'; readonly action: 'off' | 'reset'; readonly exitStatus: number }

export type ConsolePort = 'uart' | 'virtio'
