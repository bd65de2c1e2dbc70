/**
 * The process of a host agent of a local cluster, started by `understudy up`:
 *
 *     agent-main --host NAME --address ADDRESS --dir STATE-DIRECTORY --store URL
 */
import { parseArgs } from 'node:util'
import { runHost } from './run-host.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { host: text, address: text, dir: text, store: text } })
const { host, address, dir, store } = values
if (host === undefined || address === undefined || dir === undefined || store === undefined) {
  throw new Error('usage: agent-main --host NAME --address ADDRESS --dir STATE-DIRECTORY --store URL')
}
await runHost({ directory: dir, host, address, store, apiPort: 0, failureDomain: null, memoryBytes: null })
