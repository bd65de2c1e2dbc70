/** What a process takes of this machine, as Linux counts it (proc(5)). */
import { readFileSync } from 'node:fs'

/** Linux shows times in units of 1/100 s to user space on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100
const KIB = 1024

/** CPU time of all its threads so far, in seconds. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The second field is the name in parentheses and may hold spaces; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** Resident bytes in all, the guest's memory included as far as the guest has touched it. */
export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  if (found === null) throw new Error(`process ${pid} has ended`)
  return Number(found[1]) * KIB
}

/**
 * Bytes of memory outside the guest's, which is told by being the one writable mapping of at least its size. Pages
 * shared with other processes, program text above all, count in proportion (Pss). Guest pages that were never touched
 * are not resident, so the difference between the total and the guest's size would flatter.
 */
export function memoryBytesBeside(pid: number, guestBytes: number): number {
  let total = 0
  let guest = 0
  let mapping = { bytes: 0, writable: false }
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line)
    if (range !== null) {
      const bytes = Number.parseInt(range[2], 16) - Number.parseInt(range[1], 16)
      mapping = { bytes, writable: range[3].startsWith('rw') }
    }
    const share = /^Pss: +([0-9]+) kB/.exec(line)
    if (share === null) continue
    const bytes = Number(share[1]) * KIB
    total += bytes
    if (mapping.writable && mapping.bytes >= guestBytes) guest += bytes
  }
  if (guest === 0) throw new Error(`process ${pid} has no mapping that could be a guest's memory`)
  return total - guest
}
