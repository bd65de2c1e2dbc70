/** The process of one replica: `main CONFIG-FILE`. Started by the host agent. */
import { describeError } from '../control/server.ts'
import { readReplicaConfig } from './config.ts'
import { ReplicaError } from './errors.ts'
import { Replica } from './replica.ts'

/** A broken invariant stops this replica at once, never the data: the other replica takes over. */
function crash(error: unknown): void {
  const { code, message, next } = describeError(error)
  process.stderr.write(`error ${code}: ${message}\nnext: ${next}\n`)
  process.exit(1)
}

process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)

try {
  const [path] = process.argv.slice(2)
  if (path === undefined) throw new ReplicaError('CONFIG_INVALID', 'usage: main CONFIG-FILE')
  await Replica.start(readReplicaConfig(path))
} catch (error) {
  crash(error)
}
