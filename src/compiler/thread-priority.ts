/**
 * Who makes way when guest and compilers share too few cores. What V8's own threads do, optimising code whose baseline
 * runs meanwhile, nobody waits for; with their share of two cores they took up to half of the guest's.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Node names the threads of V8's pool so (proc(5), comm). */
const POOL_THREAD = 'node-V8Worker'
/**
 * What is left to them of a core that others want is about a quarter: by a third of a normal thread's weight if there is one of
 * them, by a ninth each if there are four. Much less, and on a busy host nothing would ever be optimised.
 */
const ALONE_NICE = 5
const SEVERAL_NICE = 10

/** Lowers V8's threads in this process. Any process may do this to itself; where threads have no names here, nothing happens. */
export function lowerPoolThreads(): void {
  const tasks = '/proc/self/task'
  try {
    const pool = readdirSync(tasks).filter(
      (thread) => readFileSync(`${tasks}/${thread}/comm`, 'latin1').trim() === POOL_THREAD,
    )
    for (const thread of pool) setPriority(Number(thread), pool.length === 1 ? ALONE_NICE : SEVERAL_NICE)
  } catch {
    // No such file system: the guest only waits longer for its cores.
  }
}
