/**
 * `node test/echo-peer.ts listen` sends back what it is sent on any connection. `node test/echo-peer.ts ADDRESS` connects to
 * one and sends the lines of its standard input; it prints `open`, the lines that come back, and `closed WHY` at the end.
 */
import { connect, createServer } from 'node:net'

export const ECHO_PORT = 7002

if (import.meta.main) {
  const [address] = process.argv.slice(2)
  if (address === 'listen') {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.pipe(socket)
    })
    server.listen(ECHO_PORT, () => process.stdout.write('open\n'))
  } else {
    const socket = connect({ host: address, port: ECHO_PORT, noDelay: true })
    let why = 'end'
    socket.on('connect', () => process.stdout.write('open\n'))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      why = error.code ?? error.message
    })
    socket.on('data', (data) => process.stdout.write(data))
    socket.on('close', () => process.stdout.write(`closed ${why}\n`))
    process.stdin.on('data', (data) => socket.write(data))
  }
}
