/** The process of a host agent: `agent-main HOST ADDRESS STATE-DIRECTORY`. Started by `understudy up`. */
import { logError, processLog } from '../replica/process-log.ts'
import { HostAgent } from './agent.ts'
import { ClusterLayout } from './layout.ts'

const [host, address, directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('usage: agent-main HOST ADDRESS STATE-DIRECTORY')

const log = processLog({ part: 'agent', host })

function crash(error: unknown): void {
  logError(log, 'fatal', error)
  process.exit(1)
}
process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)

const layout = new ClusterLayout(directory)
const agent = new HostAgent({
  log,
  host,
  address,
  layout: layout.host(host),
  storeDirectory: layout.store,
  onShutdown: () => void end('shutdown'),
})

async function end(reason: string): Promise<void> {
  await agent.close()
  log.info({ reason }, 'agent ends')
  process.exit(0)
}

await agent.listen()
// Replicas live on without their agent, so ending it needs no care for them.
process.on('SIGTERM', () => void end('SIGTERM'))
log.info({ address }, 'agent runs')
