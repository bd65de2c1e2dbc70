/**
 * `node test/beacon.ts NAME ADDRESS…`: tells every address, again and again, that NAME is there, and prints `heard NAME NUMBER` for
 * whatever others tell it, and `ready` first. Lines of a test that cuts networks; ends with its standard input.
 */
import { createSocket } from 'node:dgram'

export const BEACON_PORT = 7001
export const BEACON_INTERVAL_MS = 5

if (import.meta.main) {
  const [name, ...addresses] = process.argv.slice(2)
  const socket = createSocket('udp4')
  socket.on('message', (message) => process.stdout.write(`heard ${message.toString('latin1')}\n`))
  // A neighbour that is off may be reported as an error of an earlier datagram.
  socket.on('error', () => undefined)
  socket.bind(BEACON_PORT, () => {
    process.stdout.write('ready\n')
    let number = 0
    setInterval(() => {
      number++
      for (const address of addresses) socket.send(`${name} ${number}`, BEACON_PORT, address, () => undefined)
    }, BEACON_INTERVAL_MS)
  })
  process.stdin.resume().on('close', () => process.exit())
}
