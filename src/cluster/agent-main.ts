/**
 * The process of a host agent, started by `understudy up` and `understudy host`:
 *
 *     agent-main --host NAME --address ADDRESS --dir STATE-DIRECTORY --store URL [--domain NAME] [--memory BYTES]
 */
import { parseArgs } from 'node:util'
import { openStore } from '../store/open.ts'
import { HostAgent } from './agent.ts'
import { ClusterLayout } from './layout.ts'

const { values } = parseArgs({
  options: {
    host: { type: 'string' },
    address: { type: 'string' },
    dir: { type: 'string' },
    store: { type: 'string' },
    domain: { type: 'string' },
    memory: { type: 'string' },
  },
})
const { host, address, dir, store } = values
if (host === undefined || address === undefined || dir === undefined || store === undefined) {
  throw new Error('usage: agent-main --host NAME --address ADDRESS --dir STATE-DIRECTORY --store URL')
}

const agent = new HostAgent({
  host,
  address,
  failureDomain: values.domain ?? host,
  memoryBytes: values.memory === undefined ? null : Number(values.memory),
  layout: new ClusterLayout(dir).host(host),
  store: await openStore(store),
  storeUrl: store,
  identityDirectory: null,
  onShutdown: () => void agent.close().then(() => process.exit(0)),
})
await agent.listen()
// Replicas live on without their agent, so ending it needs no care for them.
process.on('SIGTERM', () => void agent.close().then(() => process.exit(0)))
