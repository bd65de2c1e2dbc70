/**
 * The process of one replica: `main CONFIG-FILE`, or `main --standby` and the file's name as a message later. Started by
 * the host agent.
 */
import { describeError } from '../control/server.ts'
import { readReplicaConfig } from './config.ts'
import { ReplicaError } from './errors.ts'
import { Replica } from './replica.ts'
import { configurationNamed, standBy } from './standby.ts'

/** A broken invariant stops this replica at once, never the data: the other replica takes over. */
function crash(error: unknown): void {
  const { code, message, next } = describeError(error)
  process.stderr.write(`error ${code}: ${message}\nnext: ${next}\n`)
  process.exit(1)
}

process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)

try {
  const [argument] = process.argv.slice(2)
  if (argument === undefined) throw new ReplicaError('CONFIG_INVALID', 'usage: main CONFIG-FILE|--standby')
  const named = argument === '--standby' ? configurationNamed() : Promise.resolve(argument)
  const standby = argument === '--standby' ? await standBy() : null
  await Replica.start(readReplicaConfig(await named), standby)
} catch (error) {
  crash(error)
}
