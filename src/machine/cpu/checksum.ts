/** The internet checksum (RFC 1071) of guest RAM, for network devices that complete and verify checksums. */
import { i32, i64 } from '../../wasm/expr.ts'
import type { CoreFunctions } from './core-functions.ts'

/** Bytes summed in one turn of the loop. */
const TURN_BYTES = 32

/**
 * Sums little-endian words of 32 bits in 64: a frame is far too short to overflow that. The sum of ones' complements
 * does not depend on the width of the words, nor on their byte order but for that of the result.
 */
export function defineChecksum(core: CoreFunctions): void {
  core.define('checksum', (f, from, length) => {
    const at = f.keep(from)
    const end = f.keep(i32.add(from, length))
    const sum = f.keep(i64.const(0))
    const other = f.keep(i64.const(0))
    const advance = (bytes: number): void => f.set(at, i32.add(at.get, i32.const(bytes)))
    const left = () => i32.sub(end.get, at.get)
    f.block((done) => {
      f.loop((next) => {
        f.brIf(done, i32.ltU(left(), i32.const(TURN_BYTES)))
        for (let offset = 0; offset < TURN_BYTES; offset += 8) {
          f.set(sum, i64.add(sum.get, i64.load32U(at.get, offset)))
          f.set(other, i64.add(other.get, i64.load32U(at.get, offset + 4)))
        }
        advance(TURN_BYTES)
        f.br(next)
      })
    })
    f.set(sum, i64.add(sum.get, other.get))
    f.block((done) => {
      f.loop((next) => {
        f.brIf(done, i32.ltU(left(), i32.const(2)))
        f.set(sum, i64.add(sum.get, i64.load16U(at.get)))
        advance(2)
        f.br(next)
      })
    })
    // An odd byte at the end counts as if a zero followed it.
    f.if(left(), () => f.set(sum, i64.add(sum.get, i64.load8U(at.get))))
    const fold = (bits: number, mask: number): void =>
      f.set(sum, i64.add(i64.and(sum.get, i64.const(mask)), i64.shrU(sum.get, i64.const(bits))))
    fold(32, 0xffffffff)
    fold(32, 0xffffffff)
    fold(16, 0xffff)
    fold(16, 0xffff)
    f.return(i32.wrap(sum.get))
  })
}
