/**
 * A holder of a lease in a process of its own, to be killed or stopped: `lease-holder.ts URL KEY TTL_MS`. Says
 * `held`, and when the lease is lost the reason and whether it then believed that it held it.
 */
import { openStore } from '../open.ts'
import { bytes } from '../store-text.ts'

const [url, key, ttlMs] = process.argv.slice(2)
const store = await openStore(url!)
const result = await store.lease(key!, bytes(`${process.pid}`), Number(ttlMs))
if (!result.held) throw new Error(`${key} is taken`)
console.log('held')
const reason = await result.lease.lost
console.log(`${reason} ${result.lease.held}`)
await store.close()
