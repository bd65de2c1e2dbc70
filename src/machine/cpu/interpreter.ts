/**
 * The interpreter: a loop that fetches, decodes and executes, generated from the table of instructions.
 *
 * It runs everything at first, counts where control arrives (calls, jumps, loop heads), and hands over to compiled
 * code wherever some exists. It is also where anything unusual happens: traps, device accesses, system
 * instructions; compiled code leaves before such an instruction and lets the interpreter execute it.
 *
 * Each step takes one unit of budget, whether the instruction retires or traps, so that no guest can loop without
 * the count advancing.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts'
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts'
import { CAUSE, raise, readControl, readField, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { type DecisionNode, decisionTree } from './decision-tree.ts'
import { instructionSet } from './instruction-set.ts'
import { emitInstruction, type InterpreterOptions, type Labels, type Locals } from './interpreted-operands.ts'
import { control, fastTlb, PAGE_BYTES, TLB_MODE_STRIDE } from './layout.ts'
import { xAddress } from './state.ts'
import { tlbOffset } from './tlb.ts'

const PAGE_MASK = i64.const(-PAGE_BYTES)

export function defineInterpreter(core: CoreFunctions, options: InterpreterOptions): void {
  core.define('interpret', (f, initialBudget) => {
    const l: Locals = {
      pc: f.local('i64'),
      budget: f.local('i32'),
      word: f.local('i32'),
      raw: f.local('i32'),
      nextPc: f.local('i64'),
      fetchTag: f.local('i64'),
      fetchAddend: f.local('i32'),
      codeTable: f.local('i32'),
      modeOffset: f.local('i32'),
      recheck: f.local('i32'),
    }
    f.set(l.pc, readField('pc'))
    f.set(l.budget, initialBudget)
    f.set(l.fetchTag, i64.const(-1))
    const arrived = f.local('i32')
    f.set(arrived, i32.const(1))
    f.block((stopped) => {
      f.loop((next) => {
        f.block((checked) => {
          f.block((trapped) => {
            f.block((transfer) => {
              f.brIf(stopped, i32.eqz(l.budget.get))
              lookUpFetchPage(f, core, l, trapped)
              // Control has arrived here by a jump: there may be compiled code.
              f.if(arrived.get, () => {
                f.set(arrived, ZERO)
                enterCompiled(f, core, options, l, arrived, next, stopped)
              })
              f.set(l.budget, i32.sub(l.budget.get, i32.const(1)))
              fetch(f, core, l, trapped)
              f.store('i64', ZERO, i64.const(0), xAddress(0))
              f.block((done) => {
                const labels: Labels = { next, transfer, trapped, checked, done }
                emitDecoder(f, core, options, l, labels)
              })
              f.set(l.pc, l.nextPc.get)
              f.brIf(next, i32.eqz(l.recheck.get), 'likely')
              f.br(checked)
            })
            f.set(arrived, i32.const(1))
            f.br(next)
          })
          const handler = core.call(
            'trap',
            i64.load(ZERO, control.trapCause),
            i64.load(ZERO, control.trapValue),
            l.pc.get,
          )
          f.set(l.pc, handler)
        })
        // Something beyond registers and plain memory may have changed.
        f.set(l.recheck, ZERO)
        f.set(l.fetchTag, i64.const(-1))
        f.set(arrived, i32.const(1))
        f.brIf(next, i32.eqz(readControl('attention')))
      })
    })
    writeField(f, 'pc', l.pc.get)
    f.return(l.budget.get)
  })
}

/** The fetch TLB is asked whenever the page of the pc is not the one asked last. */
function lookUpFetchPage(f: FunctionBuilder, core: CoreFunctions, l: Locals, trapped: Label): void {
  f.if(
    i64.ne(i64.and(l.pc.get, PAGE_MASK), l.fetchTag.get),
    () => {
      f.set(l.modeOffset, i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)))
      const entry = f.keep(
        i32.add(i32.add(tlbOffset(l.pc.get), l.modeOffset.get), i32.const(fastTlb(0, 'execute'))),
      )
      f.if(i64.ne(i64.load(entry.get), i64.and(l.pc.get, PAGE_MASK)), () => {
        f.if(i32.eqz(core.call('fetchPage', l.pc.get)), () => {
          // A fetch that traps is a step too.
          f.set(l.budget, i32.sub(l.budget.get, i32.const(1)))
          f.br(trapped)
        })
      })
      f.set(l.fetchTag, i64.and(l.pc.get, PAGE_MASK))
      f.set(l.fetchAddend, i32.load(entry.get, 8))
      f.set(l.codeTable, i32.load(entry.get, 12))
    },
    undefined,
    'unlikely',
  )
}

function enterCompiled(
  f: FunctionBuilder,
  core: CoreFunctions,
  options: InterpreterOptions,
  l: Locals,
  arrived: Local,
  next: Label,
  stopped: Label,
): void {
  const slot = f.keep(
    i32.add(l.codeTable.get, i32.shl(i32.and(i32.wrap(l.pc.get), i32.const(0xffe)), i32.const(1))),
  )
  const entry = f.keep(i32.load(slot.get))
  f.if(
    i32.gtS(entry.get, ZERO),
    () => {
      f.callIndirect(options.regionType, entry.get, [l.pc.get, l.budget.get, ZERO], l.budget)
      f.set(l.pc, readField('pc'))
      f.set(l.fetchTag, i64.const(-1))
      f.if(
        i32.ltS(l.budget.get, ZERO),
        // The next instruction is the interpreter's: no looking for compiled code.
        () => f.set(l.budget, i32.xor(l.budget.get, i32.const(-1))),
        () => f.set(arrived, i32.const(1)),
      )
      f.brIf(stopped, readControl('attention'))
      f.br(next)
    },
    () => {
      core.do(f, 'heat', l.pc.get, slot.get)
      f.brIf(stopped, readControl('attention'))
    },
  )
}

function fetch(f: FunctionBuilder, core: CoreFunctions, l: Locals, trapped: Label): void {
  const at = f.keep(i32.add(i32.wrap(l.pc.get), l.fetchAddend.get))
  f.set(l.raw, i32.load16U(at.get))
  f.if(
    i32.eq(i32.and(l.raw.get, i32.const(3)), i32.const(3)),
    () => {
      f.set(l.nextPc, i64.add(l.pc.get, i64.const(4)))
      f.if(
        i32.eq(i32.and(i32.wrap(l.pc.get), i32.const(PAGE_BYTES - 1)), i32.const(PAGE_BYTES - 2)),
        () => {
          const second = f.keep(core.call('fetchPage', i64.add(l.pc.get, i64.const(2))))
          f.if(i32.eqz(second.get), () => f.br(trapped))
          f.set(l.raw, i32.or(l.raw.get, i32.shl(i32.load16U(second.get), i32.const(16))))
          // The code table of the pc's own page may just have been dropped for want of space.
          f.set(l.fetchTag, i64.const(-1))
        },
        () => f.set(l.raw, i32.load(at.get)),
        'unlikely',
      )
      f.set(l.word, l.raw.get)
    },
    () => {
      f.set(l.nextPc, i64.add(l.pc.get, i64.const(2)))
      f.set(l.word, i32.load(i32.shl(l.raw.get, i32.const(2)), core.layout.expansion))
    },
  )
}

function emitDecoder(
  f: FunctionBuilder,
  core: CoreFunctions,
  options: InterpreterOptions,
  l: Locals,
  labels: Labels,
): void {
  const illegal = (): void => {
    raise(f, i64.const(CAUSE.illegalInstruction), i64.extendU(l.raw.get))
    f.br(labels.trapped)
  }
  const emitNode = (node: DecisionNode): void => {
    switch (node.kind) {
      case 'illegal':
        illegal()
        return
      case 'test':
        f.if(
          i32.eq(i32.and(l.word.get, i32.const(node.mask)), i32.const(node.match)),
          () => emitNode(node.yes),
          () => emitNode(node.no),
        )
        return
      case 'leaf':
        f.scope(() => emitInstruction(f, core, options, l, labels, node.instruction))
        f.br(labels.done)
        return
      case 'switch': {
        const field = i32.and(i32.shrU(l.word.get, i32.const(node.shift)), i32.const(node.size - 1))
        emitSwitch(f, field, node.cases, emitNode)
        return
      }
    }
  }
  emitNode(decisionTree(instructionSet))
}

/** Nested blocks with one br_table; each case ends in a branch of its own. */
function emitSwitch(
  f: FunctionBuilder,
  index: Expr,
  cases: readonly DecisionNode[],
  emit: (node: DecisionNode) => void,
): void {
  const open = (labels: Label[]): void => {
    if (labels.length < cases.length) {
      f.block((label) => open([label, ...labels]))
      // After the block of case k comes case k; labels[0] belongs to the innermost block.
      emit(cases[cases.length - 1 - labels.length])
      return
    }
    f.brTable(index, labels.slice(0, -1), labels[labels.length - 1])
  }
  open([])
}
