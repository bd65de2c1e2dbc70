/**
 * Floating-point arithmetic in integer WebAssembly: the same bits and the same flags on every host, in every
 * rounding mode. Compiled code takes the host's arithmetic where it is known to agree, and comes here for the rest.
 */
import type { ModuleBuilder } from '../../../wasm/module.ts'
import { defineAdd, defineDivide, defineMultiply, defineSquareRoot, defineSubtract } from './arithmetic.ts'
import { defineClassify, defineExtremum, defineRaiseIfSignaling } from './compare.ts'
import { defineConvert, defineFromInteger, defineToInteger } from './convert.ts'
import { defineFma } from './fma.ts'
import { F32, F64 } from './format.ts'
import { defineRound } from './round.ts'

const operations = [
  'add',
  'sub',
  'mul',
  'div',
  'sqrt',
  'fma',
  'min',
  'max',
  'raiseIfSignaling',
  'classify',
  'fromSigned',
  'fromUnsigned',
  'toInteger',
] as const

export type FloatFunction = `${'f32' | 'f64'}.${(typeof operations)[number]}` | 'f32.fromF64' | 'f64.fromF32'

/**
 * Defines the library's functions, exported under the names they have in the result. Values are raw 64-bit
 * registers (i64), rounding modes i32 in 0..4; flags are raised in the hart's fcsr. Signatures stand with the definitions.
 */
export function defineFloatLibrary(module: ModuleBuilder): ReadonlyMap<FloatFunction, number> {
  const library = new Map<FloatFunction, number>()
  const round = { f32: defineRound(module, F32), f64: defineRound(module, F64) }

  for (const format of [F32, F64]) {
    const to = round[format.name]
    const define = (
      operation: (typeof operations)[number],
      defined: (name: FloatFunction) => number,
    ): number => {
      const name: FloatFunction = `${format.name}.${operation}`
      const index = defined(name)
      library.set(name, index)
      return index
    }
    const add = define('add', (name) => defineAdd(module, format, name, to))
    define('sub', (name) => defineSubtract(module, format, name, add))
    define('mul', (name) => defineMultiply(module, format, name, to))
    define('div', (name) => defineDivide(module, format, name, to))
    define('sqrt', (name) => defineSquareRoot(module, format, name, to))
    define('fma', (name) => defineFma(module, format, name, to))
    define('min', (name) => defineExtremum(module, format, 'min', name))
    define('max', (name) => defineExtremum(module, format, 'max', name))
    define('raiseIfSignaling', (name) => defineRaiseIfSignaling(module, format, name))
    define('classify', (name) => defineClassify(module, format, name))
    define('fromSigned', (name) => defineFromInteger(module, format, true, name, to))
    define('fromUnsigned', (name) => defineFromInteger(module, format, false, name, to))
    define('toInteger', (name) => defineToInteger(module, format, name))
  }
  library.set('f32.fromF64', defineConvert(module, F64, F32, 'f32.fromF64', round.f32))
  library.set('f64.fromF32', defineConvert(module, F32, F64, 'f64.fromF32', round.f64))
  return library
}
