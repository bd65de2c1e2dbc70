/**
 * Calls and returns in all the shapes that programs have: deep recursion, calls that never return, returns to
 * somewhere else, coroutines. An engine that maps guest calls to calls of its own must not show it.
 */
import { encode } from './instructions.ts'
import { CAUSE, CSR, PTE, STATUS, SUPERVISOR } from './privileged.ts'
import type { Scenario } from './scenario.ts'
import { RESUME } from './scenario-handlers.ts'
import { LAYOUT } from './scenario-layout.ts'
import { ALL, page, READ_WRITE, turnOn, window } from './sv39-window.ts'

/** Above everything else in the image's memory, and far below the end of the smallest RAM. */
const STACK_TOP = 0x80f0_0000
const DEPTH = 100_000
/** Away from the places that the code around it takes in the TLB of fetches. */
const CALLER_PAGE = 100
/** Enough for every place on the way to be compiled. */
const TIMES = 10

export const CALL_SCENARIOS: readonly Scenario[] = [
  {
    name: 'recursion a hundred thousand calls deep',
    build(story) {
      const { asm } = story
      const recurse = asm.label('recurse')
      const bottom = asm.label('bottom')
      const over = asm.label('over')
      asm.emitTo(over, 'jal', 0)
      // f(n) = n = 0 ? 0 : f(n - 1) + 3
      asm.bind(recurse)
      asm.emitTo(bottom, 'beq', 10, 0)
      asm.emit('addi', 2, 2, -16)
      asm.emit('sd', 1, 2, 0)
      asm.emit('addi', 10, 10, -1)
      asm.emitTo(recurse, 'jal', 1)
      asm.emit('addi', 10, 10, 3)
      asm.emit('ld', 1, 2, 0)
      asm.emit('addi', 2, 2, 16)
      asm.bind(bottom)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      for (const depth of [10, DEPTH, 1000]) {
        asm.li(2, STACK_TOP)
        asm.li(10, depth)
        asm.emitTo(recurse, 'jal', 1)
        story.log(`depth ${depth}`, 10, 3 * depth)
        asm.li(5, STACK_TOP)
        asm.emit('sub', 5, 5, 2)
        story.log('the stack is back', 5, 0)
      }
    },
  },
  {
    name: 'mutual recursion through registers, two calls in each function',
    build(story) {
      const { asm } = story
      const fibonacci = asm.label('fibonacci')
      const small = asm.label('small')
      const over = asm.label('over')
      asm.emitTo(over, 'jal', 0)
      // fib(n) = n < 2 ? n : fib(n - 1) + fib(n - 2), called through x9
      asm.bind(fibonacci)
      asm.li(5, 2)
      asm.emitTo(small, 'blt', 10, 5)
      asm.emit('addi', 2, 2, -24)
      asm.emit('sd', 1, 2, 0)
      asm.emit('sd', 10, 2, 8)
      asm.emit('addi', 10, 10, -1)
      asm.emit('c.jalr', 9)
      asm.emit('sd', 10, 2, 16)
      asm.emit('ld', 10, 2, 8)
      asm.emit('addi', 10, 10, -2)
      asm.emit('jalr', 1, 9, 0)
      asm.emit('ld', 11, 2, 16)
      asm.emit('add', 10, 10, 11)
      asm.emit('ld', 1, 2, 0)
      asm.emit('addi', 2, 2, 24)
      asm.bind(small)
      asm.emit('c.jr', 1)
      asm.bind(over)
      asm.li(2, STACK_TOP)
      asm.loadAddress(9, fibonacci)
      asm.li(10, 18)
      asm.emit('jalr', 1, 9, 0)
      story.log('fib(18)', 10, 2584)
    },
  },
  {
    name: 'calls that are left by a jump and never return',
    build(story) {
      const { asm } = story
      const deeper = asm.label('deeper')
      const out = asm.label('out')
      const over = asm.label('over')
      asm.emitTo(over, 'jal', 0)
      // Calls itself x11 times, then jumps back to the loop, over all the frames.
      asm.bind(deeper)
      asm.emitTo(out, 'beq', 11, 0)
      asm.emit('addi', 11, 11, -1)
      asm.emit('addi', 10, 10, 1)
      asm.emitTo(deeper, 'jal', 1)
      asm.emit('addi', 10, 10, 1000)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(out)
      asm.emit('jalr', 0, 12, 0)
      asm.bind(over)
      asm.li(10, 0)
      asm.li(7, 400)
      const loop = asm.here()
      const landing = asm.label()
      asm.li(11, 50)
      asm.loadAddress(12, landing)
      asm.emitTo(deeper, 'jal', 1)
      asm.bind(landing)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      story.log('calls made', 10, 400 * 50)
    },
  },
  {
    name: 'returns to somewhere else than behind the call',
    build(story) {
      const { asm } = story
      const skipper = asm.label('skipper')
      const alternate = asm.label('alternate')
      const over = asm.label('over')
      asm.emitTo(over, 'jal', 0)
      // Returns behind the instruction that follows the call.
      asm.bind(skipper)
      asm.emit('addi', 1, 1, 4)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(alternate)
      asm.emit('addi', 5, 5, 4)
      asm.emit('jalr', 0, 5, 0)
      asm.bind(over)
      asm.li(10, 0)
      asm.li(7, 50)
      const loop = asm.here()
      asm.emitTo(skipper, 'jal', 1)
      asm.emit('addi', 10, 10, 1000)
      asm.emit('addi', 10, 10, 1)
      asm.emitTo(alternate, 'jal', 5)
      asm.emit('addi', 10, 10, 1000)
      asm.emit('addi', 10, 10, 7)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(loop, 'bne', 7, 0)
      story.log('the instruction behind each call was skipped', 10, 50 * 8)
    },
  },
  {
    name: 'coroutines that swap x1 and x5',
    build(story) {
      const { asm } = story
      const other = asm.label('other')
      const over = asm.label('over')
      const end = asm.label('end')
      asm.emitTo(over, 'jal', 0)
      asm.bind(other)
      const turn = asm.here()
      asm.emit('addi', 10, 10, 100)
      // JALR x5, x1: a return and a call at once.
      asm.emit('jalr', 5, 1, 0)
      asm.emitTo(turn, 'jal', 0)
      asm.bind(over)
      asm.li(10, 0)
      asm.li(7, 60)
      asm.emitTo(other, 'jal', 1)
      const loop = asm.here()
      asm.emit('addi', 10, 10, 1)
      asm.emit('addi', 7, 7, -1)
      asm.emitTo(end, 'beq', 7, 0)
      asm.emit('jalr', 1, 5, 0)
      asm.emitTo(loop, 'jal', 0)
      asm.bind(end)
      story.log('sixty turns each', 10, 60 * 101)
    },
  },
  {
    name: 'tail calls in a long chain',
    build(story) {
      const { asm } = story
      const even = asm.label('even')
      const odd = asm.label('odd')
      const over = asm.label('over')
      const answer = asm.label('answer')
      asm.emitTo(over, 'jal', 0)
      asm.bind(even)
      asm.li(11, 1)
      asm.emitTo(answer, 'beq', 10, 0)
      asm.emit('addi', 10, 10, -1)
      asm.loadAddress(6, odd)
      asm.emit('jalr', 0, 6, 0)
      asm.bind(odd)
      asm.li(11, 0)
      asm.emitTo(answer, 'beq', 10, 0)
      asm.emit('addi', 10, 10, -1)
      asm.loadAddress(6, even)
      asm.emit('c.jr', 6)
      asm.bind(answer)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      for (const n of [7, 200_001, 100_000]) {
        asm.li(10, n)
        asm.emitTo(even, 'jal', 1)
        story.log(`is ${n} even`, 11, n % 2 === 0 ? 1 : 0)
      }
    },
  },
  {
    name: "a callee that puts its caller's page elsewhere and fences that address: the return finds the new page",
    build(story) {
      const { asm } = story
      // No superpages: a fence by address then spares the translations of the code around it.
      story.smallTables()
      story.entry(LAYOUT.leafTable, CALLER_PAGE, page(0), ALL)
      // Frames 0 and 1 call through x20 and go on at x21, each with its own number.
      for (const n of [0, 1]) {
        asm.li(5, page(n))
        const code = [encode('jalr', 1, 20, 0), encode('addi', 10, 0, n + 7), encode('jalr', 0, 21, 0)]
        code.forEach((word, i) => {
          asm.li(6, word)
          asm.emit('sw', 6, 5, 4 * i)
        })
      }
      asm.emit('fence.i')
      const [callee, over, again, after] = [asm.label(), asm.label(), asm.label(), asm.label()]
      asm.emitTo(over, 'jal', 0)
      asm.bind(callee)
      asm.emit('sd', 13, 12, 0)
      asm.emit('sfence.vma', 9, 0)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(9, window(CALLER_PAGE))
      asm.li(12, LAYOUT.leafTable + 8 * CALLER_PAGE)
      asm.li(13, leaf(page(1), ALL))
      asm.li(14, leaf(page(0), ALL))
      asm.loadAddress(20, callee)
      asm.loadAddress(21, after)
      asm.li(22, TIMES)
      asm.li(23, 0)
      asm.bind(again)
      asm.emit('sd', 14, 12, 0)
      asm.emit('sfence.vma', 9, 0)
      asm.emit('jalr', 0, 9, 0)
      asm.bind(after)
      asm.emit('add', 23, 23, 10)
      asm.emit('addi', 22, 22, -1)
      asm.emitTo(again, 'bne', 22, 0)
      story.log('the sum of what the new page says', 23, TIMES * 8)
      story.toMachine()
    },
  },
  {
    name: 'a loop across two pages whose callee puts the second page elsewhere each time',
    build(story) {
      const { asm } = story
      story.smallTables()
      story.entry(LAYOUT.leafTable, CALLER_PAGE, page(0), ALL)
      story.entry(LAYOUT.leafTable, CALLER_PAGE + 1, page(1), ALL)
      const put = (at: number, words: readonly number[]): void => {
        asm.li(5, at)
        words.forEach((word, i) => {
          asm.li(6, word)
          asm.emit('sw', 6, 5, 4 * i)
        })
      }
      // The loop begins at the end of frame 0; frames 1 and 2 differ in what they add.
      const end = [encode('jalr', 1, 20, 0), encode('addi', 10, 10, 1), encode('addi', 10, 10, 2)]
      put(page(1) - 4 * end.length, end)
      for (const n of [1, 2]) {
        const back = -4 * (end.length + 2)
        put(page(n), [
          encode('addi', 23, 23, n === 1 ? 1 : 100),
          encode('addi', 22, 22, -1),
          encode('bne', 22, 0, back),
          encode('jalr', 0, 21, 0),
        ])
      }
      asm.emit('fence.i')
      const [callee, over, after] = [asm.label(), asm.label(), asm.label()]
      asm.emitTo(over, 'jal', 0)
      asm.bind(callee)
      asm.emit('sd', 13, 12, 0)
      asm.emit('sfence.vma', 9, 0)
      asm.emit('addi', 15, 13, 0)
      asm.emit('addi', 13, 14, 0)
      asm.emit('addi', 14, 15, 0)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(9, window(CALLER_PAGE + 1))
      asm.li(12, LAYOUT.leafTable + 8 * (CALLER_PAGE + 1))
      asm.li(13, leaf(page(2), ALL))
      asm.li(14, leaf(page(1), ALL))
      asm.loadAddress(20, callee)
      asm.loadAddress(21, after)
      asm.li(22, 4 * TIMES)
      asm.li(23, 0)
      asm.li(16, window(CALLER_PAGE + 1) - 4 * end.length)
      asm.emit('jalr', 0, 16, 0)
      asm.bind(after)
      story.log('the sum of what both frames add', 23, 2 * TIMES * 101)
      story.toMachine()
    },
  },
  {
    name: "a callee that takes its caller's access to user pages away",
    build(story) {
      const { asm } = story
      story.usualTables()
      story.entry(LAYOUT.leafTable, 0, page(0), READ_WRITE | PTE.u)
      const [work, callee, over, refused] = [asm.label(), asm.label(), asm.label(), asm.label()]
      asm.emitTo(over, 'jal', 0)
      asm.bind(work)
      asm.emit('addi', 22, 1, 0)
      asm.emit('jalr', 1, 20, 0)
      asm.bind(refused)
      asm.emit('ld', 6, 10, 0)
      asm.emit('jalr', 0, 22, 0)
      asm.bind(callee)
      asm.emit('csrrc', 0, CSR.sstatus, 11)
      asm.emit('jalr', 0, 1, 0)
      asm.bind(over)
      turnOn(story)
      story.enter(SUPERVISOR)
      asm.li(10, window(0))
      asm.li(11, STATUS.sum)
      asm.loadAddress(20, callee)
      for (const time of ['first', 'second', 'third', 'fourth']) {
        const next = asm.label()
        asm.emit('csrrs', 0, CSR.sstatus, 11)
        asm.emit('ld', 6, 10, 0)
        asm.loadAddress(RESUME, next)
        asm.emitTo(work, 'jal', 1)
        asm.bind(next)
        story.expectTrap(`the load behind the call, ${time} time`, {
          cause: CAUSE.loadPage,
          from: SUPERVISOR,
          value: window(0),
          pc: refused,
        })
      }
      story.toMachine()
    },
  },
]

function leaf(physical: number, flags: number): bigint {
  return ((BigInt(physical) >> 12n) << 10n) | BigInt(flags)
}
