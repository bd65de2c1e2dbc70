/**
 * The interpreter. A fast loop executes decoded instructions; around it are the ways between pages, into compiled
 * code, and to the single step, which does whatever the loop has no handler for.
 *
 * It runs everything at first, counts where control arrives (calls, jumps, loop heads), and hands over to compiled
 * code wherever some exists. It is also where anything unusual happens: compiled code leaves before such an
 * instruction and lets the interpreter execute it.
 *
 * Each step takes one unit of budget, whether the instruction retires or traps, so that no guest can loop without
 * the count advancing.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import { readControl, readField, writeField, ZERO } from './access.ts'
import { COMPRESSED_TARGETS } from './compressed.ts'
import type { CoreFunctions } from './core-functions.ts'
import { emitLikelySwitch } from './decision-tree.ts'
import { defineDecode, type Handler, RECORD, recordAt } from './decode-cache.ts'
import { emitHandler, isDecoded, type LoopLabels, type LoopState } from './decoded-operands.ts'
import { frequencyOf } from './instruction-frequencies.ts'
import { instructionSet } from './instruction-set.ts'
import type { InterpreterOptions } from './interpreted-operands.ts'
import { control, fastTlb, PAGE_BYTES, TLB_MODE_STRIDE } from './layout.ts'
import { defineSingleStep, STEP } from './single-step.ts'
import { tlbOffset } from './tlb.ts'

const PAGE_MASK = i64.const(-PAGE_BYTES)

interface State extends LoopState {
  readonly budget: Local
  /** Code table of the page that `at` lies in. */
  readonly codeTable: Local
}

export function defineInterpreter(core: CoreFunctions, options: InterpreterOptions): void {
  const handlers = instructionSet.filter(isDecoded).flatMap((instruction): Handler[] => {
    const long: Handler = { instruction, length: 4 }
    return COMPRESSED_TARGETS.has(instruction.name) ? [long, { instruction, length: 2 }] : [long]
  })
  handlers.sort((a, b) => frequencyOf(b) - frequencyOf(a))
  defineDecode(core, handlers)
  defineSingleStep(core, options)
  core.define('interpret', (f, initialBudget) => {
    const s: State = {
      pc: f.local('i64'),
      budget: f.local('i32'),
      at: f.local('i32'),
      pcBias: f.local('i64'),
      record: f.local('i32'),
      codeTable: f.local('i32'),
      modeOffset: f.local('i32'),
      arrived: f.local('i32'),
    }
    const stopAtPc = (stopped: Label): void => {
      f.set(s.pc, pcOf(s))
      f.br(stopped)
    }
    f.set(s.pc, readField('pc'))
    f.set(s.budget, initialBudget)
    f.set(s.arrived, i32.const(1))
    f.block((stopped) => {
      f.loop((again) => {
        f.brIf(stopped, i32.eqz(s.budget.get))
        f.block((trapped) => {
          enterPage(f, core, s, trapped)
          // Control has arrived here by a jump: there may be compiled code.
          f.if(s.arrived.get, () => {
            f.set(s.arrived, ZERO)
            enterCompiled(f, core, options, s, again, stopped)
          })
          f.block((single) => {
            f.block((undecoded) => {
              f.block((turn) => {
                f.loop((next) => {
                  f.block((arrive) => {
                    f.block((ahead) => {
                      f.block((pass) => {
                        f.if(i32.eqz(s.budget.get), () => stopAtPc(stopped), undefined, 'unlikely')
                        emitDispatch(
                          f,
                          core,
                          s,
                          handlers,
                          { next, ahead, arrive, pass, leave: again, single },
                          undecoded,
                        )
                      })
                      countPass(f, s, options)
                      f.br(next)
                    })
                    // The fetch TLB is asked whenever the page of the pc changes.
                    f.brIf(turn, i32.eqz(i32.and(s.at.get, i32.const(PAGE_BYTES - 1))), 'unlikely')
                    f.br(next)
                  })
                  countArrival(f, s, options, next)
                  f.set(s.arrived, i32.const(1))
                })
              })
              f.set(s.pc, pcOf(s))
              f.br(again)
            })
            core.do(f, 'decode', s.at.get, s.record.get)
            f.set(s.pc, pcOf(s))
            f.br(again)
          })
          emitSingle(f, core, s, trapped, again, stopped)
        })
        // A fetch trapped.
        const [cause, value] = [control.trapCause, control.trapValue]
        f.set(s.pc, core.call('trap', i64.load(ZERO, cause), i64.load(ZERO, value), s.pc.get))
        f.set(s.arrived, i32.const(1))
        f.brIf(again, i32.eqz(readControl('attention')))
      })
    })
    writeField(f, 'pc', s.pc.get)
    f.return(s.budget.get)
  })
}

function pcOf(s: State): Expr {
  return i64.add(s.pcBias.get, i64.extendU(s.at.get))
}

/** Finds the memory that the pc's page lies in. */
function enterPage(f: FunctionBuilder, core: CoreFunctions, s: State, trapped: Label): void {
  f.set(s.modeOffset, i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)))
  const entry = f.keep(i32.add(tlbOffset(s.pc.get), s.modeOffset.get))
  const tlb = fastTlb(0, 'execute')
  f.if(
    i64.ne(i64.load(entry.get, tlb), i64.and(s.pc.get, PAGE_MASK)),
    () =>
      f.if(i32.eqz(core.call('fetchPage', s.pc.get)), () => {
        // A fetch that traps is a step too.
        f.set(s.budget, i32.sub(s.budget.get, i32.const(1)))
        f.br(trapped)
      }),
    undefined,
    'unlikely',
  )
  f.set(s.at, i32.add(i32.wrap(s.pc.get), i32.load(entry.get, tlb + 8)))
  f.set(s.codeTable, i32.load(entry.get, tlb + 12))
  f.set(s.pcBias, i64.sub(s.pc.get, i64.extendU(s.at.get)))
}

/** Memory address of the word that says whether the instruction at `at` is a compiled entry, or how often control arrived there. */
function entrySlot(s: State): Expr {
  const inTable = i32.shl(i32.and(s.at.get, i32.const(PAGE_BYTES - 2)), i32.const(1))
  return i32.add(s.codeTable.get, inTable)
}

function enterCompiled(
  f: FunctionBuilder,
  core: CoreFunctions,
  options: InterpreterOptions,
  s: State,
  again: Label,
  stopped: Label,
): void {
  const slot = f.keep(entrySlot(s))
  const entry = f.keep(i32.load(slot.get))
  f.if(
    i32.gtS(entry.get, ZERO),
    () => {
      f.callIndirect(options.regionType, entry.get, [s.pc.get, s.budget.get, ZERO], s.budget)
      f.set(s.pc, readField('pc'))
      f.if(
        i32.ltS(s.budget.get, ZERO),
        // The next instruction is the interpreter's: no looking for compiled code.
        () => f.set(s.budget, i32.xor(s.budget.get, i32.const(-1))),
        () => f.set(s.arrived, i32.const(1)),
      )
      f.brIf(stopped, readControl('attention'))
      f.br(again)
    },
    () => {
      core.do(f, 'heat', s.pc.get, slot.get)
      f.brIf(stopped, readControl('attention'))
    },
  )
}

/** The common case of `heat`: the place is neither compiled nor about to be. */
function countArrival(f: FunctionBuilder, s: State, options: InterpreterOptions, next: Label): void {
  const slot = f.keep(entrySlot(s))
  const heat = f.keep(i32.sub(i32.load(slot.get), i32.const(1)))
  const isCold = i32.and(i32.ltS(heat.get, ZERO), i32.gtS(heat.get, i32.const(-options.hotThreshold)))
  f.if(
    isCold,
    () => {
      f.store('i32', slot.get, heat.get)
      f.br(next)
    },
    undefined,
    'likely',
  )
}

/**
 * A place that a branch ahead leads to belongs to the region of the code before it, and is compiled by itself only
 * if it is arrived at otherwise. It is counted to show that it runs, up to a part of what makes a place hot.
 */
function countPass(f: FunctionBuilder, s: State, options: InterpreterOptions): void {
  const slot = f.keep(entrySlot(s))
  const heat = f.keep(i32.load(slot.get))
  const most = i32.const(-Math.floor(options.hotThreshold / PASSES_SHARE))
  f.if(i32.and(i32.leS(heat.get, ZERO), i32.gtS(heat.get, most)), () =>
    f.store('i32', slot.get, i32.sub(heat.get, i32.const(1))),
  )
}

/** Enough to tell what is rare, and far from hot. */
const PASSES_SHARE = 4

/** Executes the instruction at `at` by its record, if there is one of these very bytes. */
function emitDispatch(
  f: FunctionBuilder,
  core: CoreFunctions,
  s: State,
  handlers: readonly Handler[],
  labels: LoopLabels,
  undecoded: Label,
): void {
  f.set(s.record, recordAt(core, s.at.get))
  f.brIf(undecoded, i32.ne(i32.load(s.at.get), i32.load(s.record.get, RECORD.raw)), 'unlikely')
  f.set(s.budget, i32.sub(s.budget.get, i32.const(1)))
  const number = f.keep(i32.load16U(s.record.get, RECORD.handler))
  emitLikelySwitch(f, number, [null, ...handlers], frequencyOf, (handler) => {
    if (handler === null) f.br(labels.single)
    else emitHandler(f, core, s, labels, handler)
  })
}

/** The instruction at `at`, whose unit of budget is taken, by the single step. */
function emitSingle(
  f: FunctionBuilder,
  core: CoreFunctions,
  s: State,
  trapped: Label,
  again: Label,
  stopped: Label,
): void {
  const raw = f.keep(i32.load(s.at.get))
  f.set(s.pc, pcOf(s))
  const isLong = i32.eq(i32.and(raw.get, i32.const(3)), i32.const(3))
  const isLast = i32.eq(i32.and(s.at.get, i32.const(PAGE_BYTES - 1)), i32.const(PAGE_BYTES - 2))
  f.if(
    i32.and(isLong, isLast),
    () => {
      const second = f.keep(core.call('fetchPage', i64.add(s.pc.get, i64.const(2))))
      f.brIf(trapped, i32.eqz(second.get))
      const high = i32.shl(i32.load16U(second.get), i32.const(16))
      f.set(raw, i32.or(i32.and(raw.get, i32.const(0xffff)), high))
    },
    undefined,
    'unlikely',
  )
  const outcome = f.keep(core.call('step', s.pc.get, raw.get, s.budget.get))
  f.set(s.pc, readField('pc'))
  f.brIf(again, i32.eq(outcome.get, i32.const(STEP.next)))
  f.set(s.arrived, i32.const(1))
  f.brIf(again, i32.eq(outcome.get, i32.const(STEP.arrived)))
  // Something beyond registers and plain memory may have changed.
  f.brIf(again, i32.eqz(readControl('attention')))
  f.br(stopped)
}
