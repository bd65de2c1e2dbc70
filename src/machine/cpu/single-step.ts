/**
 * The single step: executes any one instruction, decoding it from its bytes. It is what the fast interpreter leaves
 * everything unusual to: first touches of memory, devices, faults, system instructions, floating point.
 */
import { i32, i64 } from '../../wasm/expr.ts'
import { CAUSE, raise, readControl, writeField, ZERO } from './access.ts'
import type { CoreFunctions } from './core-functions.ts'
import { decisionTree, emitDecisions } from './decision-tree.ts'
import { instructionSet } from './instruction-set.ts'
import { emitInstruction, type InterpreterOptions, type Labels, type Locals } from './interpreted-operands.ts'
import { control, TLB_MODE_STRIDE } from './layout.ts'
import { xAddress } from './state.ts'

/**
 * What `step` returns. next: nothing but registers and memory changed. arrived: a jump was taken. check: modes,
 * translations or interrupts may have changed.
 */
export const STEP = { next: 0, arrived: 1, check: 2 } as const

export function defineSingleStep(core: CoreFunctions, options: InterpreterOptions): void {
  core.define('step', (f, startPc, startRaw, budget) => {
    const l: Locals = {
      pc: f.local('i64'),
      budget: { get: budget },
      word: f.local('i32'),
      raw: f.local('i32'),
      nextPc: f.local('i64'),
      modeOffset: f.local('i32'),
      recheck: f.local('i32'),
    }
    f.set(l.pc, startPc)
    f.set(l.raw, startRaw)
    f.set(l.modeOffset, i32.mul(readControl('mode'), i32.const(TLB_MODE_STRIDE)))
    f.if(
      i32.eq(i32.and(startRaw, i32.const(3)), i32.const(3)),
      () => {
        f.set(l.word, startRaw)
        f.set(l.nextPc, i64.add(startPc, i64.const(4)))
      },
      () => {
        f.set(l.raw, i32.and(startRaw, i32.const(0xffff)))
        f.set(l.word, i32.load(i32.shl(l.raw.get, i32.const(2)), core.layout.expansion))
        f.set(l.nextPc, i64.add(startPc, i64.const(2)))
      },
    )
    f.block((checked) => {
      f.block((trapped) => {
        f.block((transfer) => {
          f.block((next) => {
            f.block((done) => {
              const labels: Labels = { next, transfer, trapped, checked, done }
              emitDecisions(f, decisionTree(instructionSet), l.word.get, {
                leaf: (instruction) => {
                  f.scope(() => emitInstruction(f, core, options, l, labels, instruction))
                  f.br(done)
                },
                illegal: () => {
                  raise(f, i64.const(CAUSE.illegalInstruction), i64.extendU(l.raw.get))
                  f.br(trapped)
                },
              })
            })
            f.set(l.pc, l.nextPc.get)
            f.store('i64', ZERO, i64.const(0), xAddress(0))
            f.brIf(checked, l.recheck.get)
          })
          writeField(f, 'pc', l.pc.get)
          f.return(i32.const(STEP.next))
        })
        f.store('i64', ZERO, i64.const(0), xAddress(0))
        writeField(f, 'pc', l.pc.get)
        f.return(i32.const(STEP.arrived))
      })
      f.set(
        l.pc,
        core.call('trap', i64.load(ZERO, control.trapCause), i64.load(ZERO, control.trapValue), l.pc.get),
      )
    })
    f.store('i64', ZERO, i64.const(0), xAddress(0))
    writeField(f, 'pc', l.pc.get)
    f.return(i32.const(STEP.check))
  })
}
