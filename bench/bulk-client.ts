/** The client's side of the measurement of bulk transfers: large values into a Redis and out of it again, in a thread of its own. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'

export interface BulkWork {
  readonly port: number
  readonly valueBytes: number
}

/** Asks for one transfer: `in` is towards the guest. */
export interface BulkRequest {
  readonly direction: 'in' | 'out'
  readonly times: number
}

async function serve({ port, valueBytes }: BulkWork): Promise<void> {
  if (parentPort === null) throw new Error('this module is a thread')
  const messages = parentPort
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  const value = Buffer.alloc(valueBytes, 'understudy ')
  const set = Buffer.from(`*3\r\n$3\r\nSET\r\n$4\r\nbulk\r\n$${valueBytes}\r\n`)
  const answerBytes = { in: '+OK\r\n'.length, out: `$${valueBytes}\r\n\r\n`.length + valueBytes }
  let received = 0
  let wanted: { readonly bytes: number; readonly done: () => void } | null = null
  socket.on('data', (chunk) => {
    received += chunk.length
    if (wanted === null || received < wanted.bytes) return
    received = 0
    wanted.done()
  })
  messages.on('message', async ({ direction, times }: BulkRequest) => {
    for (let n = 0; n < times; n++) {
      const answered = new Promise<void>((resolve) => {
        wanted = { bytes: answerBytes[direction], done: resolve }
      })
      if (direction === 'in') {
        socket.write(set)
        socket.write(value)
        socket.write('\r\n')
      } else socket.write('*2\r\n$3\r\nGET\r\n$4\r\nbulk\r\n')
      await answered
    }
    messages.postMessage('done')
  })
  messages.postMessage('connected')
}

await serve(workerData as BulkWork)
