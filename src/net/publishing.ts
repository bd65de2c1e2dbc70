/** Chooses and checks the host ports that a VM publishes, before passt is asked for them. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { NetError } from './errors.ts'
import type { PublishedPort } from './passt.ts'

/** What Linux reserves for privileged processes unless it is told otherwise (ip(7), ip_unprivileged_port_start). */
const UNPRIVILEGED_PORT_MIN = 1024

/**
 * Tries each port and returns the list with every host port 0 replaced by a free one. Rejects with NET_PORT_IN_USE
 * or NET_PORT_FORBIDDEN, naming the port. A port may still be taken between this and its use.
 */
export async function claimPorts(wanted: readonly PublishedPort[]): Promise<PublishedPort[]> {
  const claimed: PublishedPort[] = []
  const unprivilegedPortMin = lowestUnprivilegedPort()
  for (const port of wanted) {
    const where = `${port.hostAddress}:${port.hostPort}`
    if (port.hostPort !== 0 && port.hostPort < unprivilegedPortMin) {
      throw new NetError(
        'NET_PORT_FORBIDDEN',
        `${where} is a privileged port, and passt runs without privileges`,
      )
    }
    if (claimed.some(({ hostAddress, hostPort }) => `${hostAddress}:${hostPort}` === where)) {
      throw new NetError('NET_PORT_IN_USE', `${where} is published twice`)
    }
    claimed.push({ ...port, hostPort: await tryPort(port.hostAddress, port.hostPort) })
  }
  return claimed
}

async function tryPort(hostAddress: string, hostPort: number): Promise<number> {
  const server = createServer()
  try {
    server.listen({ host: hostAddress, port: hostPort, exclusive: true })
    await once(server, 'listening')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE')
      throw new NetError('NET_PORT_IN_USE', `${hostAddress}:${hostPort} is in use`, { cause: error })
    throw new NetError('NET_PORT_FORBIDDEN', `${hostAddress}:${hostPort} cannot be published: ${message}`, {
      cause: error,
    })
  }
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port')
  return address.port
}

function lowestUnprivilegedPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
  } catch {
    return UNPRIVILEGED_PORT_MIN
  }
}
