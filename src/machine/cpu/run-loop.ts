/**
 * The machine's outer loop and the ways between interpreted and compiled code.
 *
 * The loop takes pending interrupts, finds out at which retired count the next timer fires, and executes up to
 * there. It looks at interrupts whenever something asked for attention; looking more often changes nothing,
 * because interrupts are a function of the state and are taken as soon as they are pending and enabled. When the
 * budget is spent it returns without looking, so that a slice ends in the same state however its run was divided.
 */
import { type Expr, i32, i64, select } from '../../wasm/expr.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { readControl, readField, writeControl, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { EXIT, fastTlb, PAGE_BYTES, QUEUE_ENTRIES, QUEUE_ENTRY_BYTES, TLB_MODE_STRIDE } from './layout.ts'
import { STATUS } from './status.ts'
import { tlbOffset } from './tlb.ts'

/** Highest priority first (Volume II, 3.1.9): external, software, timer; machine before supervisor. */
const PRIORITY = [11, 3, 7, 9, 1, 5] as const

/** Timers further than this many ticks away cannot fire within one run. */
const TIMER_HORIZON_TICKS = 2 ** 31

export interface RunLoopOptions {
  /** Visits to an entry point after which it is compiled. */
  readonly hotThreshold: number
  readonly regionType: number
  /** Entry points that are compiled together. */
  readonly batch: number
}

export function defineRunLoop(core: CoreFunctions, options: RunLoopOptions): void {
  defineHeat(core, options)
  defineDispatch(core, options)
  defineRun(core)
  defineHash(core)
}

function defineHeat(core: CoreFunctions, options: RunLoopOptions): void {
  core.define('heat', (f, pc, slot) => {
    const heat = f.keep(i32.sub(i32.load(slot), i32.const(1)))
    // Below the threshold it stays put: queued already, or found not worth compiling.
    f.if(i32.ltS(heat.get, i32.const(-options.hotThreshold)), () => f.return())
    const length = f.keep(readControl('queueLength'))
    // With a full queue the visit is not counted, so that a later one is queued.
    f.if(i32.eq(length.get, i32.const(QUEUE_ENTRIES)), () => f.return())
    f.store('i32', slot, heat.get)
    f.if(i32.ne(heat.get, i32.const(-options.hotThreshold)), () => f.return(), undefined, 'likely')
    const entry = f.keep(fetchEntry(pc))
    const queued = f.keep(
      i32.add(i32.const(core.layout.queue), i32.mul(length.get, i32.const(QUEUE_ENTRY_BYTES))),
    )
    f.store('i64', queued.get, pc)
    f.store('i32', queued.get, i32.add(i32.wrap(pc), i32.load(entry.get, 8)), 8)
    f.store('i32', queued.get, readControl('mode'), 12)
    writeControl(f, 'queueLength', i32.add(length.get, i32.const(1)))
    // Regions are compiled in batches: a module has a price of its own. What remains is compiled when the run ends.
    f.if(i32.ltU(readControl('queueLength'), i32.const(options.batch)), () => f.return())
    writeControl(f, 'exit', select(readControl('exit'), readControl('exit'), i32.const(EXIT.compile)))
    writeControl(f, 'attention', i32.const(1))
  })
}

function fetchEntry(pc: Expr): Expr {
  return i32.add(
    i32.add(tlbOffset(pc), i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE))),
    i32.const(fastTlb(0, 'execute')),
  )
}

function defineDispatch(core: CoreFunctions, options: RunLoopOptions): void {
  core.define('dispatch', (f, pc, budget, depth) => {
    const entry = f.keep(fetchEntry(pc))
    f.block((interpret) => {
      f.if(
        i64.ne(i64.load(entry.get), i64.and(pc, i64.const(-PAGE_BYTES))),
        () => {
          f.brIf(interpret, mustNotFetch(budget))
          // A fetch that faults is asked for again, and takes its trap, in the interpreter.
          f.brIf(interpret, i32.eqz(core.call('fetchPage', pc)))
        },
        undefined,
        'unlikely',
      )
      const inTable = i32.shl(i32.and(i32.wrap(pc), i32.const(PAGE_BYTES - 2)), i32.const(1))
      const slot = f.keep(i32.add(i32.load(entry.get, 12), inTable))
      const target = f.keep(i32.load(slot.get))
      f.if(
        i32.gtS(target.get, ZERO),
        () => f.returnCallIndirect(options.regionType, target.get, pc, budget, depth),
        undefined,
        'likely',
      )
      core.do(f, 'heat', pc, slot.get)
    })
    writeField(f, 'pc', pc)
    f.return(budget)
  })
}

/**
 * i32: whether the fetch TLB may not be asked from compiled code. The last step of a run asks nothing for the step
 * behind it, and neither does one that an interrupt may follow.
 */
function mustNotFetch(budget: Expr): Expr {
  return i32.or(i32.eqz(budget), readControl('attention'))
}

function defineRun(core: CoreFunctions): void {
  core.define('run', (f, initialBudget) => {
    const budget = f.keep(initialBudget)
    const chunk = f.temp('i32')
    const left = f.temp('i32')
    f.loop((again) => {
      writeControl(f, 'attention', ZERO)
      writeControl(f, 'codeChanged', ZERO)
      const driver = i32.or(readControl('exit'), readControl('compiledReady'))
      f.if(i32.or(driver, i32.eqz(budget.get)), () => f.return(budget.get))
      const pending = f.keep(i64.and(core.call('pending', ZERO), readField('mie')))
      f.if(i64.ne(readField('waiting'), i64.const(0)), () => {
        f.if(i64.eqz(pending.get), () => {
          writeControl(f, 'exit', i32.const(EXIT.idle))
          f.return(budget.get)
        })
        writeField(f, 'waiting', i64.const(0))
      })
      f.if(i32.eqz(i64.eqz(pending.get)), () => takeInterrupt(f, core, pending.get))
      f.set(chunk, budget.get)
      limitToTimers(f, core, chunk)
      writeField(f, 'retiredLimit', i64.add(readField('retiredLimit'), i64.extendU(chunk.get)))
      f.set(left, core.call('interpret', chunk.get))
      writeField(f, 'retiredLimit', i64.sub(readField('retiredLimit'), i64.extendU(left.get)))
      f.set(budget, i32.sub(budget.get, i32.sub(chunk.get, left.get)))
      f.br(again)
    })
    f.unreachable()
  })
}

function takeInterrupt(f: FunctionBuilder, core: CoreFunctions, pending: Expr): void {
  const privilege = f.keep(i32.wrap(readField('privilege')))
  const status = f.keep(i32.wrap(readField('mstatus')))
  const enabledAt = (level: number, bit: number): Expr =>
    i32.or(
      i32.ltU(privilege.get, i32.const(level)),
      i32.and(i32.eq(privilege.get, i32.const(level)), i32.ne(i32.and(status.get, i32.const(bit)), ZERO)),
    )
  const ready = f.keep(i64.const(0))
  f.if(enabledAt(3, STATUS.mie), () =>
    f.set(ready, i64.and(pending, i64.xor(readField('mideleg'), i64.const(-1)))),
  )
  // Interrupts for M-mode come before delegated ones.
  f.if(i32.and(i64.eqz(ready.get), enabledAt(1, STATUS.sie)), () =>
    f.set(ready, i64.and(pending, readField('mideleg'))),
  )
  f.if(
    i64.eqz(ready.get),
    () => undefined,
    () => {
      const cause = f.keep(i64.const(0))
      f.block((found) => {
        for (const number of PRIORITY) {
          f.set(cause, i64.const((1n << 63n) | BigInt(number)))
          f.brIf(found, i32.ne(i32.and(i32.wrap(ready.get), i32.const(1 << number)), ZERO))
        }
      })
      writeField(f, 'pc', core.call('trap', cause.get, i64.const(0), readField('pc')))
    },
  )
}

/** Shortens `chunk` so that it ends at the exact count at which the nearest timer becomes due. */
function limitToTimers(
  f: FunctionBuilder,
  core: CoreFunctions,
  chunk: { get: Expr } & Parameters<FunctionBuilder['set']>[0],
): void {
  const nearest = f.keep(readField('mtimecmp'))
  f.if(i64.ltS(readField('menvcfg'), i64.const(0)), () => {
    f.if(i64.ltU(readField('stimecmp'), nearest.get), () => f.set(nearest, readField('stimecmp')))
    // One that is due already needs no limit; the other may.
    const now = f.keep(core.call('clock', ZERO))
    f.if(i64.leU(nearest.get, now.get), () =>
      f.set(
        nearest,
        select(i64.leU(readField('mtimecmp'), now.get), readField('stimecmp'), readField('mtimecmp')),
      ),
    )
  })
  const distance = f.keep(i64.sub(nearest.get, readField('sliceClock')))
  const inReach = i32.and(
    i64.ltU(readField('sliceClock'), nearest.get),
    i64.ltU(distance.get, i64.const(TIMER_HORIZON_TICKS)),
  )
  f.if(i32.and(inReach, i64.ne(readField('sliceRate'), i64.const(0))), () => {
    // The least count whose clock reaches the comparator: ceil(distance × 2^32 / rate), from the slice's start.
    const rate = readField('sliceRate')
    const due = i64.divU(i64.add(i64.shl(distance.get, i64.const(32)), i64.sub(rate, i64.const(1))), rate)
    const ahead = f.keep(i64.sub(i64.add(due, readField('sliceRetired')), readField('retiredLimit')))
    f.if(i32.and(i64.gtS(ahead.get, i64.const(0)), i64.ltS(ahead.get, i64.extendU(chunk.get))), () =>
      f.set(chunk, i32.wrap(ahead.get)),
    )
  })
}

/** Four independent lanes of multiply and rotate over 32 bytes a round; not cryptographic, but every bit counts. */
function defineHash(core: CoreFunctions): void {
  const multiplier = i64.const(0x9e3779b97f4a7c15n)
  core.define('hash', (f, from, to) => {
    const at = f.keep(from)
    const seeds = [0x243f6a8885a308d3n, 0x13198a2e03707344n, 0xa4093822299f31d0n, 0x082efa98ec4e6c89n]
    const lanes = seeds.map((seed) => f.keep(i64.const(seed)))
    f.loop((next) => {
      lanes.forEach((lane, i) => {
        f.set(lane, i64.rotl(i64.mul(i64.xor(lane.get, i64.load(at.get, i * 8)), multiplier), i64.const(29)))
      })
      f.set(at, i32.add(at.get, i32.const(32)))
      f.brIf(next, i32.ltU(at.get, to))
    })
    const mix = f.keep(i64.const(0))
    for (const lane of lanes) {
      f.set(mix, i64.mul(i64.xor(mix.get, lane.get), multiplier))
      f.set(mix, i64.xor(mix.get, i64.shrU(mix.get, i64.const(32))))
    }
    f.return(mix.get)
  })
}
