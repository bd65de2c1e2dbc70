/** The process of a host agent: `agent-main HOST ADDRESS STATE-DIRECTORY`. Started by `understudy up`. */
import { HostAgent } from './agent.ts'
import { ClusterLayout } from './layout.ts'

const [host, address, directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('usage: agent-main HOST ADDRESS STATE-DIRECTORY')

const layout = new ClusterLayout(directory)
const agent = new HostAgent({
  host,
  address,
  layout: layout.host(host),
  storeDirectory: layout.store,
  onShutdown: () => void agent.close().then(() => process.exit(0)),
})
await agent.listen()
// Replicas live on without their agent, so ending it needs no care for them.
process.on('SIGTERM', () => void agent.close().then(() => process.exit(0)))
