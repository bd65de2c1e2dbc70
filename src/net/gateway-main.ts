/**
 * The gateway's process. Usage:
 *
 *     node gateway-main.ts --dir DIR [--links ADDRESS] [--identity DIRECTORY [--control ADDRESS]]
 *
 * DIR gets `gateway.sock` (control) and, unless ADDRESS says otherwise, `links.sock`. With an identity, `--links` and
 * `--control` (besides the socket in DIR) may be `tls:` addresses for other hosts. When everything listens, one line of JSON
 * on stdout says so: {"control","links","remoteControl","pid"}. The log goes to stderr, a JSON object a line. SIGTERM
 * and SIGINT end it in order; passt processes end with it in any case.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { UnderstudyError } from '../errors.ts'
import { loadIdentity } from '../security/identity.ts'
import { NetError } from './errors.ts'
import { startGateway } from './gateway.ts'
import { GatewayClient, serveGatewayControl } from './gateway-control.ts'

async function main(): Promise<void> {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ options: { dir: text, links: text, control: text, identity: text } })
  if (values.dir === undefined) throw new NetError('NET_REQUEST_INVALID', '--dir is missing')
  const log = pino({ base: { part: 'gateway' } }, pino.destination({ dest: 2, sync: true }))
  const control = `unix:${join(values.dir, 'gateway.sock')}`
  await refuseSecondGateway(control)
  const gateway = await startGateway({
    dir: values.dir,
    log,
    identity: values.identity === undefined ? null : loadIdentity(values.identity),
    ...(values.links && { linkAddress: values.links }),
  })
  const servers = [await serveGatewayControl(gateway, control)]
  if (values.control !== undefined) servers.push(await serveGatewayControl(gateway, values.control))
  const remoteControl = servers[1]?.address ?? null
  const stop = async (signal: NodeJS.Signals) => {
    log.info({ signal }, 'gateway ends')
    for (const server of servers) server.close()
    await gateway.close()
    process.exit(0)
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  const places = { control, links: gateway.linkAddress, remoteControl }
  log.info(places, 'gateway runs')
  process.stdout.write(`${JSON.stringify({ ...places, pid: process.pid })}\n`)
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
