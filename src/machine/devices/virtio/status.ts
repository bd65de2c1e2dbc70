/**
 * The device status field as a table (virtio 1.2, sections 2.1 and 3.1.1). A driver climbs it one bit at a time;
 * whatever is not in the table is refused and counted.
 */
export const STATUS_ACKNOWLEDGE = 1
export const STATUS_DRIVER = 2
export const STATUS_DRIVER_OK = 4
export const STATUS_FEATURES_OK = 8
export const STATUS_NEEDS_RESET = 64
export const STATUS_FAILED = 128

const ACKNOWLEDGED = STATUS_ACKNOWLEDGE
const DRIVER = ACKNOWLEDGED | STATUS_DRIVER
const FEATURES_OK = DRIVER | STATUS_FEATURES_OK
const DRIVER_OK = FEATURES_OK | STATUS_DRIVER_OK

/** What a transition asks of the transport before it counts. */
export type StatusEffect =
  | 'none'
  /** The offered features are settled: the device may refuse by leaving FEATURES_OK clear. */
  | 'negotiate'
  /** The driver is ready: queues may be used from now on. */
  | 'activate'
  /** Everything but the counts of warnings goes back to power-on. */
  | 'reset'
  /** The driver gave up: queues are not used until a reset. */
  | 'fail'

interface StatusTransition {
  readonly from: number
  readonly to: number
  readonly effect: StatusEffect
}

export const STATUS_TRANSITIONS: readonly StatusTransition[] = [
  { from: 0, to: ACKNOWLEDGED, effect: 'none' },
  { from: ACKNOWLEDGED, to: DRIVER, effect: 'none' },
  { from: DRIVER, to: FEATURES_OK, effect: 'negotiate' },
  { from: FEATURES_OK, to: DRIVER_OK, effect: 'activate' },
]

/**
 * The effect of writing `written` where the register holds `current`, or null if that is no legal step.
 * DEVICE_NEEDS_RESET is the device's bit: a driver that writes back what it read does not change it.
 */
export function statusEffect(current: number, written: number): StatusEffect | null {
  if (written === 0) return 'reset'
  const from = current & ~STATUS_NEEDS_RESET
  const to = written & ~STATUS_NEEDS_RESET
  if (to === from) return 'none'
  if (to === (from | STATUS_FAILED)) return 'fail'
  for (const step of STATUS_TRANSITIONS) if (step.from === from && step.to === to) return step.effect
  return null
}

/** The queues may be set up: features are settled and the driver does not run yet. */
export function isConfigurable(status: number): boolean {
  return status === FEATURES_OK
}

/** The driver runs and neither side has given up. */
export function isLive(status: number): boolean {
  return status === DRIVER_OK
}

/** Features may be written. */
export function isNegotiating(status: number): boolean {
  return status === DRIVER
}

/** A value the register can hold, for checking a saved state. */
export function isReachable(status: number): boolean {
  const steps = status & ~(STATUS_NEEDS_RESET | STATUS_FAILED)
  return steps === 0 || STATUS_TRANSITIONS.some((step) => step.to === steps)
}
