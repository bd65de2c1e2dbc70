/**
 * A small assembler: a flat image at a fixed address, labels, constants and data. It encodes through the tests'
 * own instruction table, so programs never depend on what the CPU believes an encoding to be.
 */
import { encode, formOf, type Mnemonic } from './instructions.ts'

/** A place in the image, bound once. */
export interface Label {
  readonly name: string
}

interface Fixup {
  readonly offset: number
  readonly label: Label
  readonly mnemonic: Mnemonic
  readonly operands: readonly number[]
}

const INITIAL_BYTES = 4096

export class Assembler {
  readonly base: number
  #image = new Uint8Array(INITIAL_BYTES)
  #view = new DataView(this.#image.buffer)
  #length = 0
  readonly #bound = new Map<Label, number>()
  readonly #fixups: Fixup[] = []
  readonly #addressFixups: { readonly offset: number; readonly label: Label }[] = []

  /** `base`: the address of the image's first byte. */
  constructor(base: number) {
    this.base = base
  }

  /** The address of the next byte. */
  get address(): number {
    return this.base + this.#length
  }

  label(name = ''): Label {
    return { name }
  }

  bind(label: Label): void {
    if (this.#bound.has(label)) throw new RangeError(`label ${label.name} is bound already`)
    this.#bound.set(label, this.address)
  }

  /** A label bound here. */
  here(name = ''): Label {
    const label = this.label(name)
    this.bind(label)
    return label
  }

  /** The address of a bound label. */
  addressOf(label: Label): number {
    const address = this.#bound.get(label)
    if (address === undefined) throw new RangeError(`label ${label.name} is not bound`)
    return address
  }

  emit(mnemonic: Mnemonic, ...operands: readonly number[]): void {
    const bits = encode(mnemonic, ...operands)
    if (formOf(mnemonic).bytes === 2) this.half(bits)
    else this.word(bits)
  }

  /** An instruction whose last operand, a target, is the distance to `label`. */
  emitTo(label: Label, mnemonic: Mnemonic, ...operands: readonly number[]): void {
    this.#fixups.push({ offset: this.#length, label, mnemonic, operands })
    this.#reserve(formOf(mnemonic).bytes)
  }

  /** AUIPC and ADDI: the address of `label` into register `rd`, anywhere within 2 GiB. */
  loadAddress(rd: number, label: Label): void {
    this.#addressFixups.push({ offset: this.#length, label })
    this.emit('auipc', rd, 0)
    this.emit('addi', rd, rd, 0)
  }

  /** Any 64-bit constant into register `rd`, in one to eight instructions; takes the value modulo 2^64. */
  li(rd: number, value: bigint | number): void {
    const wanted = BigInt.asIntN(64, BigInt(value))
    if (wanted >= -2048n && wanted < 2048n) {
      this.emit('addi', rd, 0, Number(wanted))
      return
    }
    const low = Number(BigInt.asIntN(12, wanted))
    if (wanted === BigInt.asIntN(32, wanted)) {
      this.emit('lui', rd, Number(((wanted - BigInt(low)) >> 12n) & 0xfffffn))
      // ADDIW wraps at 32 bits, so 0x7ffff800..0x7fffffff come out right although LUI sign-extends.
      if (low !== 0) this.emit('addiw', rd, rd, low)
      return
    }
    let upper = BigInt.asIntN(64, wanted - BigInt(low)) >> 12n
    let shift = 12
    while ((upper & 1n) === 0n) {
      upper >>= 1n
      shift += 1
    }
    this.li(rd, upper)
    this.emit('slli', rd, rd, shift)
    if (low !== 0) this.emit('addi', rd, rd, low)
  }

  byte(value: number): void {
    const offset = this.#reserve(1)
    this.#view.setUint8(offset, value)
  }

  half(value: number): void {
    const offset = this.#reserve(2)
    this.#view.setUint16(offset, value, true)
  }

  word(value: number): void {
    const offset = this.#reserve(4)
    this.#view.setUint32(offset, value, true)
  }

  double(value: bigint): void {
    const offset = this.#reserve(8)
    this.#view.setBigUint64(offset, BigInt.asUintN(64, value), true)
  }

  bytes(data: Uint8Array): void {
    const offset = this.#reserve(data.length)
    this.#image.set(data, offset)
  }

  /** Zeroes up to the next multiple of `alignment` bytes. */
  align(alignment: number): void {
    this.#reserve((alignment - (this.address % alignment)) % alignment)
  }

  /** Zeroes up to `address`, which must not lie behind. */
  advanceTo(address: number): void {
    if (address < this.address) throw new RangeError('cannot move backwards')
    this.#reserve(address - this.address)
  }

  /** The image with every label resolved. Throws a RangeError for an unbound label or a target out of reach. */
  finish(): Uint8Array {
    for (const { offset, label, mnemonic, operands } of this.#fixups) {
      const bits = encode(mnemonic, ...operands, this.addressOf(label) - (this.base + offset))
      if (formOf(mnemonic).bytes === 2) this.#view.setUint16(offset, bits, true)
      else this.#view.setUint32(offset, bits, true)
    }
    for (const { offset, label } of this.#addressFixups) {
      const distance = this.addressOf(label) - (this.base + offset)
      const low = (distance << 20) >> 20
      const upper = ((distance - low) >> 12) & 0xfffff
      this.#view.setUint32(offset, (this.#view.getUint32(offset, true) | (upper << 12)) >>> 0, true)
      this.#view.setUint32(offset + 4, (this.#view.getUint32(offset + 4, true) | (low << 20)) >>> 0, true)
    }
    return this.#image.slice(0, this.#length)
  }

  #reserve(bytes: number): number {
    const offset = this.#length
    this.#length += bytes
    if (this.#length > this.#image.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#image.length * 2))
      grown.set(this.#image)
      this.#image = grown
      this.#view = new DataView(grown.buffer)
    }
    return offset
  }
}
