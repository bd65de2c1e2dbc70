/**
 * The gateway's process. Usage:
 *
 *     node gateway-main.ts --dir DIR [--links ADDRESS]
 *
 * DIR gets `gateway.sock` (control) and, unless ADDRESS says otherwise, `links.sock`. When everything listens, one
 * line of JSON on stdout says so: {"control","links","pid"}. The log goes to stderr, a JSON object a line. SIGTERM
 * and SIGINT end it in order; passt processes end with it in any case.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { UnderstudyError } from '../errors.ts'
import { NetError } from './errors.ts'
import { startGateway } from './gateway.ts'
import { GatewayClient, serveGatewayControl } from './gateway-control.ts'

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { dir: { type: 'string' }, links: { type: 'string' } } })
  if (values.dir === undefined) throw new NetError('NET_REQUEST_INVALID', '--dir is missing')
  const log = pino({ base: { part: 'gateway' } }, pino.destination({ dest: 2, sync: true }))
  const control = `unix:${join(values.dir, 'gateway.sock')}`
  await refuseSecondGateway(control)
  const gateway = await startGateway({
    dir: values.dir,
    log,
    ...(values.links && { linkAddress: values.links }),
  })
  const server = await serveGatewayControl(gateway, control)
  const stop = async (signal: NodeJS.Signals) => {
    log.info({ signal }, 'gateway ends')
    server.close()
    await gateway.close()
    process.exit(0)
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  log.info({ control, links: gateway.linkAddress }, 'gateway runs')
  process.stdout.write(`${JSON.stringify({ control, links: gateway.linkAddress, pid: process.pid })}\n`)
}

/** Two gateways in one directory would take each other's sockets away. */
async function refuseSecondGateway(control: string): Promise<void> {
  const other = await new GatewayClient(control).info().catch(() => null)
  if (other !== null) throw new NetError('NET_GATEWAY_EXISTS', `process ${other.pid} serves ${control}`)
}

main().catch((error: unknown) => {
  if (!(error instanceof UnderstudyError)) throw error
  process.stderr.write(`gateway: ${error.message} (${error.code})\n${error.next}\n`)
  process.exit(1)
})
