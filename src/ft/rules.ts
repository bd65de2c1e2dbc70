/**
 * The rules that the simulator can switch off, to show that its checkers see what happens without them.
 *
 * Production code never passes this: the constructors default to ALL_RULES.
 */
export interface Rules {
  /** An output of slice k leaves only after the backup has acknowledged frame k. */
  readonly outputRule: boolean
  /** Going live, and going on alone, need a won test-and-set. */
  readonly testAndSet: boolean
  /** Every whole frame received is consumed before going live. */
  readonly wholeFrame: boolean
  /** The primary releases only while the backup's promise not to contend is known to stand. */
  readonly promise: boolean
  /** A backup contends only once it was told that it has all that has left. */
  readonly bind: boolean
}

/** What production runs with. */
export const ALL_RULES: Rules = {
  outputRule: true,
  testAndSet: true,
  wholeFrame: true,
  promise: true,
  bind: true,
}
