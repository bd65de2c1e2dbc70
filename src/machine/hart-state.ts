import { type FieldName, fAddress, field, xAddress } from './cpu/state.ts'

/** A hart's registers by name, for firmware, devices and tests; the machine's Wasm memory holds them. */
export class HartState {
  readonly #words: BigUint64Array

  constructor(memory: WebAssembly.Memory) {
    this.#words = new BigUint64Array(memory.buffer)
  }

  get(name: FieldName): bigint {
    return this.#words[field[name] / 8]
  }

  set(name: FieldName, value: bigint): void {
    this.#words[field[name] / 8] = BigInt.asUintN(64, value)
  }

  /** Integer register `index`, 1 to 31 (x0 reads 0). */
  x(index: number): bigint {
    return index === 0 ? 0n : this.#words[xAddress(index) / 8]
  }

  setX(index: number, value: bigint): void {
    if (index !== 0) this.#words[xAddress(index) / 8] = BigInt.asUintN(64, value)
  }

  /** Floating-point register `index` as raw bits. */
  f(index: number): bigint {
    return this.#words[fAddress(index) / 8]
  }

  setF(index: number, value: bigint): void {
    this.#words[fAddress(index) / 8] = BigInt.asUintN(64, value)
  }
}
