/**
 * One contestant of the race between processes in `directory.test.ts`: tries to create each of 40 keys and to
 * add to one counter, and reports as JSON which keys it won and how often it added.
 */
import { openDirectoryStore } from './directory.ts'
import { bytes, text } from './store-text.ts'

const CONTEST_TIMEOUT_MS = 60_000

const store = await openDirectoryStore(process.argv[2]!, { timeoutMs: CONTEST_TIMEOUT_MS })
const won: string[] = []
let added = 0
for (let i = 0; i < 40; i++) {
  const result = await store.createIfAbsent(`contest/${i}`, bytes(`${process.pid}`))
  if (result.created) won.push(`${i}`)
  const created = await store.createIfAbsent('count', bytes('1'))
  if (created.created) added++
  else {
    const next = bytes(`${Number(text(created.existing.value)) + 1}`)
    if ((await store.compareAndSet('count', created.existing.version, next)).set) added++
  }
}
await store.close()
console.log(JSON.stringify({ won, added }))
