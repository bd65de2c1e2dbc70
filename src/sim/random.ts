/**
 * The only source of chance in the simulated world: one seed, one sequence, on every host.
 *
 * sfc32 (Chris Doty-Humphrey's "Small Fast Counting" generator, 32-bit variant): 128 bits of state, passes PractRand.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    this.#a = seed >>> 0
    this.#b = Math.floor(seed / 2 ** 32) >>> 0
    this.#c = 0x9e3779b9
    // Seeds differ in few bits; a dozen rounds spread them over the whole state.
    for (let round = 0; round < 12; round++) this.#word()
  }

  #word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return this.#word() / 2 ** 32
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.fraction()
  }

  /** A whole number, uniform in [low, high], both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.fraction() * (high - low + 1))
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.fraction() * choices.length)]!
  }

  /** Log-uniform in [low, high): as many of 1 to 10 as of 10 to 100. For durations of faults. */
  magnitude(low: number, high: number): number {
    return low * (high / low) ** this.fraction()
  }
}
