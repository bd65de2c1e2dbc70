/**
 * Who makes way when guest and compilers share too few cores. What V8's own threads do, optimising code whose baseline
 * runs meanwhile, nobody waits for; with their share of two cores they took up to half of the guest's.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Node names the threads of V8's pool so (proc(5), comm). */
const POOL_THREAD = 'node-V8Worker'
/** A 28th of the weight of a normal thread: four of them still get an eighth of a core that others want, and all that they do not. */
const POOL_NICE = 15

/** Lowers V8's threads in this process. Any process may do this to itself; where threads have no names here, nothing happens. */
export function lowerPoolThreads(): void {
  const tasks = '/proc/self/task'
  try {
    for (const thread of readdirSync(tasks)) {
      if (readFileSync(`${tasks}/${thread}/comm`, 'latin1').trim() === POOL_THREAD)
        setPriority(Number(thread), POOL_NICE)
    }
  } catch {
    // No such file system: the guest only waits longer for its cores.
  }
}
