import { expect, it } from 'vitest'
import { f32, f64, i32 } from '../../../wasm/expr.ts'
import { ModuleBuilder } from '../../../wasm/module.ts'

/** Enough turns for an optimising compiler to take over, and calls for it to be used. */
const TURNS = 100_000
const CALLS = 20

/** Signaling and quiet, both signs, payloads in either half. */
const DOUBLES = [
  0x7ff0_0000_0000_0001n,
  0xfff0_dead_beef_0000n,
  0x7ff8_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
]
const SINGLES = [0x7f80_0001, 0xff80_beef, 0x7fc0_0000, 0xffff_ffff]

/**
 * Registers of a region are f64 and f32 locals. WebAssembly lets only arithmetic change the bits of a NaN; a host that changed them in
 * a local, a loop, a negation or a change of sign would make the guest's state depend on the host.
 */
it('a NaN keeps its bits in locals, through loops and changes of sign', () => {
  const module = new ModuleBuilder()
  module.importMemory('env', 'memory', 1, 1)
  const { body: f } = module.function(['i32'], [], 'carry')
  const turns = f.paramLocals[0]
  const doubles = DOUBLES.map(() => f.local('f64'))
  const singles = SINGLES.map(() => f.local('f32'))
  const zero = i32.const(0)
  doubles.forEach((local, n) => {
    f.set(local, f64.load(zero, 8 * n))
  })
  singles.forEach((local, n) => {
    f.set(local, f32.load(zero, 64 + 4 * n))
  })
  f.loop((turn) => {
    // Around in a ring, negated at each step; a whole number of rings restores order and signs.
    const [firstDouble, firstSingle] = [f.keep(doubles[0].get), f.keep(singles[0].get)]
    doubles.forEach((local, n) => {
      f.set(local, f64.neg((doubles[n + 1] ?? firstDouble).get))
    })
    singles.forEach((local, n) => {
      f.set(local, f32.neg((singles[n + 1] ?? firstSingle).get))
    })
    f.set(doubles[0], f64.copysign(doubles[0].get, doubles[0].get))
    f.set(singles[0], f32.copysign(singles[0].get, singles[0].get))
    f.set(turns, i32.sub(turns.get, i32.const(1)))
    f.brIf(turn, turns.get)
  })
  doubles.forEach((local, n) => {
    f.store('f64', zero, local.get, 128 + 8 * n)
  })
  singles.forEach((local, n) => {
    f.store('f32', zero, local.get, 192 + 4 * n)
  })
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } })
  const view = new DataView(memory.buffer)
  DOUBLES.forEach((bits, n) => {
    view.setBigUint64(8 * n, bits, true)
  })
  SINGLES.forEach((bits, n) => {
    view.setUint32(64 + 4 * n, bits, true)
  })
  for (let call = 0; call < CALLS; call++) {
    ;(exports.carry as (turns: number) => void)(TURNS)
    expect(DOUBLES.map((_, n) => view.getBigUint64(128 + 8 * n, true))).toEqual(DOUBLES)
    expect(SINGLES.map((_, n) => view.getUint32(192 + 4 * n, true))).toEqual(SINGLES)
  }
})
