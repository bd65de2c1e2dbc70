/**
 * A seeded source of random numbers, and the values at which arithmetic goes wrong. xoshiro128** (Blackman and
 * Vigna), seeded through splitmix32, so that near seeds give unrelated programs.
 */
export class Random {
  readonly #state = new Uint32Array(4)

  constructor(seed: number) {
    let mix = seed >>> 0
    for (let n = 0; n < 4; n++) {
      mix = (mix + 0x9e3779b9) >>> 0
      let z = Math.imul(mix ^ (mix >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[n] = z ^ (z >>> 15)
    }
  }

  u32(): number {
    const s = this.#state
    const product = Math.imul(s[1]!, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const t = s[1]! << 9
    s[2] = s[2]! ^ s[0]!
    s[3] = s[3]! ^ s[1]!
    s[1] = s[1]! ^ s[2]!
    s[0] = s[0]! ^ s[3]!
    s[2] = s[2]! ^ t
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }

  /** 0 to bound - 1. */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound)
  }

  /** `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** True with a chance of `percent` in a hundred. */
  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
}

const ALL_ONES = 0xffff_ffff_ffff_ffffn

/** Integers at the edges of every width. */
export const INTEGER_EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  31n,
  32n,
  33n,
  63n,
  64n,
  65n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0x8000_0001n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x1_0000_0001n,
  0x7fff_ffff_ffff_fffen,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x8000_0000_0000_0001n,
  0xffff_ffff_0000_0000n,
  0xffff_ffff_7fff_ffffn,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_8000_0001n,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
  0x0001_0203_0405_0607n,
  0x8000_0000_7fff_ffffn,
  ALL_ONES - 1n,
  ALL_ONES,
  1n << 52n,
  (1n << 53n) + 1n,
  (1n << 24n) + 1n,
  0x7fff_ff80n,
  0x7fff_ffbfn,
  0x7fff_ffc0n,
  0x7fff_ffff_ffff_fc00n,
  0x7fff_ffff_ffff_fe00n,
  0xffff_ff7f_ffff_ffffn,
  0xffff_ffff_ffff_fc00n,
]

export function nastyInteger(random: Random): bigint {
  const roll = random.below(100)
  if (roll < 45) return random.pick(INTEGER_EDGES)
  if (roll < 60) return 1n << BigInt(random.below(64))
  if (roll < 70) return BigInt.asUintN(64, (1n << BigInt(random.below(64))) - 1n)
  if (roll < 80) return BigInt.asUintN(64, BigInt(random.between(-300, 300)))
  if (roll < 88) return BigInt.asUintN(64, BigInt.asIntN(32, random.u64()))
  return random.u64()
}

/** Single-precision bit patterns at the edges: zeros, subnormals, one and its neighbours, integer limits, infinities, NaNs. */
export const SINGLE_EDGES: readonly bigint[] = [
  0x0000_0000n,
  0x0000_0001n,
  0x0000_0002n,
  0x0040_0000n,
  0x007f_fffen,
  0x007f_ffffn,
  0x0080_0000n,
  0x0080_0001n,
  0x0100_0000n,
  0x3380_0000n,
  0x3400_0000n,
  0x3effffffn,
  0x3f00_0000n,
  0x3f00_0001n,
  0x3f7f_fffen,
  0x3f7f_ffffn,
  0x3f80_0000n,
  0x3f80_0001n,
  0x3fbf_ffffn,
  0x3fc0_0000n,
  0x4000_0000n,
  0x4020_0000n,
  0x4040_0000n,
  0x4b00_0000n,
  0x4b7f_ffffn,
  0x4b80_0000n,
  0x4eff_ffffn,
  0x4f00_0000n,
  0x4f7f_ffffn,
  0x4f80_0000n,
  0x5eff_ffffn,
  0x5f00_0000n,
  0x5f7f_ffffn,
  0x5f80_0000n,
  0x7e80_0000n,
  0x7eff_ffffn,
  0x7f7f_fffen,
  0x7f7f_ffffn,
  0x7f80_0000n,
  0x7f80_0001n,
  0x7fbf_ffffn,
  0x7fc0_0000n,
  0x7fc0_1234n,
  0x7fff_ffffn,
  0x1fff_ffffn,
  0x2000_0000n,
  0x2000_0001n,
  0x5f80_0001n,
  0x3eaa_aaabn,
  0x0dcc_cccdn,
]

/** The same edges in double precision. */
export const DOUBLE_EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  0x0008_0000_0000_0000n,
  0x000f_ffff_ffff_fffen,
  0x000f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x0010_0000_0000_0001n,
  0x0020_0000_0000_0000n,
  0x3690_0000_0000_0000n,
  0x36a0_0000_0000_0000n,
  0x36a0_0000_0000_0001n,
  0x3800_0000_0000_0000n,
  0x380f_ffff_ffff_ffffn,
  0x3810_0000_0000_0000n,
  0x380f_ffff_e000_0000n,
  0x380f_ffff_f000_0000n,
  0x3c90_0000_0000_0000n,
  0x3ca0_0000_0000_0000n,
  0x3cb0_0000_0000_0000n,
  0x3fdf_ffff_ffff_ffffn,
  0x3fe0_0000_0000_0000n,
  0x3fe0_0000_0000_0001n,
  0x3fef_ffff_ffff_ffffn,
  0x3ff0_0000_0000_0000n,
  0x3ff0_0000_0000_0001n,
  0x3ff0_0000_1000_0000n,
  0x3ff0_0000_1000_0001n,
  0x3ff0_0000_3000_0000n,
  0x3ff8_0000_0000_0000n,
  0x4000_0000_0000_0000n,
  0x4004_0000_0000_0000n,
  0x4008_0000_0000_0000n,
  0x41df_ffff_ffc0_0000n,
  0x41df_ffff_ffe0_0000n,
  0x41e0_0000_0000_0000n,
  0x41e0_0000_0010_0000n,
  0x41ef_ffff_ffe0_0000n,
  0x41ef_ffff_fff0_0000n,
  0x41f0_0000_0000_0000n,
  0x4330_0000_0000_0000n,
  0x4340_0000_0000_0000n,
  0x43df_ffff_ffff_ffffn,
  0x43e0_0000_0000_0000n,
  0x43ef_ffff_ffff_ffffn,
  0x43f0_0000_0000_0000n,
  0x47ef_ffff_e000_0000n,
  0x47ef_ffff_efff_ffffn,
  0x47ef_ffff_f000_0000n,
  0x47f0_0000_0000_0000n,
  0x7fd0_0000_0000_0000n,
  0x7fef_ffff_ffff_fffen,
  0x7fef_ffff_ffff_ffffn,
  0x7ff0_0000_0000_0000n,
  0x7ff0_0000_0000_0001n,
  0x7ff7_ffff_ffff_ffffn,
  0x7ff8_0000_0000_0000n,
  0x7ff8_0000_0000_1234n,
  0x7fff_ffff_ffff_ffffn,
  0x1fff_ffff_ffff_ffffn,
  0x2000_0000_0000_0000n,
  0x5fef_ffff_ffff_ffffn,
  0x3fd5_5555_5555_5555n,
]

const NAN_BOX = 0xffff_ffff_0000_0000n

/** A single-precision pattern: an edge, an edge moved a little, one with an exponent near one, or any; half of them negative. */
export function nastySingle(random: Random): bigint {
  const sign = random.chance(50) ? 0x8000_0000n : 0n
  const roll = random.below(100)
  if (roll < 50) return random.pick(SINGLE_EDGES) ^ sign
  if (roll < 65) return BigInt.asUintN(31, random.pick(SINGLE_EDGES) + BigInt(random.between(-3, 3))) ^ sign
  if (roll < 80) return ((BigInt(random.between(100, 155)) << 23n) | nearHalfway(random, 23)) ^ sign
  if (roll < 90) return ((BigInt(random.below(256)) << 23n) | nearHalfway(random, 23)) ^ sign
  return BigInt(random.u32())
}

export function nastyDouble(random: Random): bigint {
  const sign = random.chance(50) ? 1n << 63n : 0n
  const roll = random.below(100)
  if (roll < 50) return random.pick(DOUBLE_EDGES) ^ sign
  if (roll < 65) return BigInt.asUintN(63, random.pick(DOUBLE_EDGES) + BigInt(random.between(-3, 3))) ^ sign
  if (roll < 80) return ((BigInt(random.between(960, 1090)) << 52n) | nearHalfway(random, 52)) ^ sign
  if (roll < 90) return ((BigInt(random.below(2048)) << 52n) | nearHalfway(random, 52)) ^ sign
  return random.u64()
}

/** What an f register may hold: doubles, boxed singles, and singles that are not boxed (which read as NaN). */
export function nastyFloat(random: Random): bigint {
  const roll = random.below(100)
  if (roll < 45) return nastyDouble(random)
  if (roll < 92) return NAN_BOX | nastySingle(random)
  return (BigInt((random.u32() | 0x8000_0000) >>> 0) << 32n) | nastySingle(random)
}

/** A significand whose products and sums land on, or one unit beside, the middle between two results. */
function nearHalfway(random: Random, bits: number): bigint {
  const full = BigInt(bits)
  switch (random.below(5)) {
    case 0:
      return BigInt.asUintN(bits, 1n << BigInt(random.below(bits)))
    case 1:
      return BigInt.asUintN(bits, -(1n << BigInt(random.below(bits))))
    case 2:
      return BigInt.asUintN(bits, (1n << BigInt(random.below(bits))) + (random.chance(50) ? 1n : -1n))
    case 3:
      return BigInt.asUintN(bits, (random.u64() >> (64n - full / 2n)) << (full / 2n))
    default:
      return BigInt.asUintN(bits, random.u64())
  }
}
