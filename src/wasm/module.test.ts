import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteWriter } from './bytes.ts'
import { type Expr, i32, i64, select } from './expr.ts'
import { ModuleBuilder } from './module.ts'

/** Compiles `result` as a function of one i64 parameter. */
function compile(result: (x: Expr) => Expr): (x: bigint) => bigint {
  const module = new ModuleBuilder()
  const { body } = module.function(['i64'], ['i64'], 'f')
  body.return(result(body.paramLocals[0].get))
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
  return instance.exports.f as (x: bigint) => bigint
}

const operations = {
  add: i64.add,
  sub: i64.sub,
  and: i64.and,
  or: i64.or,
  xor: i64.xor,
  shl: i64.shl,
  shrU: i64.shrU,
  shrS: i64.shrS,
  mul: i64.mul,
} as const
type Operation = keyof typeof operations

/** A small program: apply each operation to the value so far and a constant, or to two constants. */
const steps = fc.array(
  fc.record({
    operation: fc.constantFrom(...(Object.keys(operations) as Operation[])),
    operand: fc.oneof(
      fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
      fc.constantFrom(0n, 1n, -1n, 63n, 2n ** 31n, -(2n ** 31n)),
    ),
  }),
  { maxLength: 8 },
)

describe('expressions', () => {
  it('fold constants to what the hardware computes', () => {
    fc.assert(
      fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), steps, (start, program) => {
        const build = (first: Expr): Expr =>
          program.reduce((value, s) => operations[s.operation](value, i64.const(s.operand)), first)
        // The same tree once with a known start, once with a parameter.
        const folded = compile(() => build(i64.const(start)))
        const computed = compile((x) => build(x))
        expect(folded(0n)).toBe(computed(start))
      }),
    )
  })

  it('read a local that was just set, in either arm of a branch and in a loop', () => {
    const module = new ModuleBuilder()
    const { body: f } = module.function(['i64'], ['i64'], 'f')
    const [x] = f.paramLocals
    const y = f.local('i64')
    // Each read stands right behind a write, once of the same way and once of another.
    f.set(y, i64.add(x.get, i64.const(1)))
    f.if(
      i64.geS(y.get, i64.const(10)),
      () => f.set(y, i64.const(7)),
      () => f.set(y, i64.mul(y.get, i64.const(3))),
    )
    f.loop((again) => {
      f.set(y, i64.add(y.get, i64.const(1)))
      f.brIf(again, i64.ltS(y.get, i64.const(20)))
    })
    f.set(x, y.get)
    f.return(i64.add(y.get, x.get))
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
    const run = instance.exports.f as (x: bigint) => bigint
    expect([run(3n), run(8n), run(9n), run(40n)]).toEqual([40n, 56n, 40n, 40n])
  })

  it('keep a value that a later write would change', () => {
    const module = new ModuleBuilder()
    const { body: f } = module.function(['i64'], ['i64'], 'f')
    const x = f.paramLocals[0]
    const before = f.keep(x.get)
    f.set(x, i64.add(x.get, i64.const(1)))
    f.return(i64.sub(i64.mul(x.get, i64.const(10)), before.get))
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
    expect((instance.exports.f as (x: bigint) => bigint)(4n)).toBe(46n)
  })

  it('select evaluates its condition last, as the encoding wants it', () => {
    expect(compile((x) => select(i64.eqz(x), i64.const(7), i64.const(9)))(0n)).toBe(7n)
    expect(compile((x) => select(i64.eqz(x), i64.const(7), i64.const(9)))(1n)).toBe(9n)
  })
})

describe('structured control flow', () => {
  it('branches to the label it was given, however deep', () => {
    const module = new ModuleBuilder()
    const { body: f } = module.function(['i32'], ['i32'], 'f')
    const n = f.paramLocals[0]
    const sum = f.local('i32')
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, i32.eqz(n.get), 'unlikely')
        f.if(i32.and(n.get, i32.const(1)), () => {
          f.set(sum, i32.add(sum.get, n.get))
          f.set(n, i32.sub(n.get, i32.const(1)))
          f.br(again)
        })
        f.set(n, i32.sub(n.get, i32.const(1)))
        f.br(again)
      })
    })
    f.return(sum.get)
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
    expect((instance.exports.f as (n: number) => number)(10)).toBe(9 + 7 + 5 + 3 + 1)
  })

  it('reuses temporaries only after the scope that took them', () => {
    const module = new ModuleBuilder()
    const { body: f } = module.function([], ['i32'], 'f')
    const outer = f.keep(i32.const(5))
    const inner = f.scope(() => f.keep(i32.const(6)).index)
    const next = f.keep(i32.const(7))
    expect(next.index).toBe(inner)
    expect(next.index).not.toBe(outer.index)
    f.return(i32.mul(outer.get, next.get))
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
    expect((instance.exports.f as () => number)()).toBe(35)
  })
})

describe('LEB128', () => {
  const bytesOf = (write: (w: ByteWriter) => void): number[] => {
    const w = new ByteWriter(1)
    write(w)
    return [...w.view()]
  }
  const decode = (bytes: readonly number[], signed: boolean): bigint => {
    let value = 0n
    bytes.forEach((b, i) => {
      value |= BigInt(b & 0x7f) << BigInt(7 * i)
    })
    return signed && (bytes[bytes.length - 1] & 0x40) !== 0 ? value - (1n << BigInt(7 * bytes.length)) : value
  }

  it('reads back what it wrote, in the fewest bytes', () => {
    fc.assert(
      fc.property(
        fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
        fc.nat(0xffffffff),
        fc.integer(),
        (big, unsigned, signed) => {
          expect(
            decode(
              bytesOf((w) => w.i64(big)),
              true,
            ),
          ).toBe(big)
          expect(
            decode(
              bytesOf((w) => w.u32(unsigned)),
              false,
            ),
          ).toBe(BigInt(unsigned))
          expect(
            decode(
              bytesOf((w) => w.i32(signed)),
              true,
            ),
          ).toBe(BigInt(signed))
          expect(bytesOf((w) => w.i64(signed))).toEqual(bytesOf((w) => w.i32(signed)))
          expect(bytesOf((w) => w.u32(unsigned)).length).toBe(
            Math.max(1, Math.ceil((32 - Math.clz32(unsigned)) / 7)),
          )
        },
      ),
    )
  })
})
