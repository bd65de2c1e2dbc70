/**
 * The process of one replica: `main CONFIG-FILE`, or `main --standby` and the file's name as a message later. Started by
 * the host agent.
 */
import { readReplicaConfig } from './config.ts'
import { ReplicaError } from './errors.ts'
import { logError, processLog } from './process-log.ts'
import { Replica } from './replica.ts'
import { configurationNamed, standBy } from './standby.ts'

/** Says which replica speaks as soon as that is known. */
let log = processLog({ part: 'replica' })

/** A broken invariant stops this replica at once, never the data: the other replica takes over. */
function crash(error: unknown): void {
  logError(log, 'fatal', error)
  process.exit(1)
}

process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)

try {
  const [argument] = process.argv.slice(2)
  if (argument === undefined) throw new ReplicaError('CONFIG_INVALID', 'usage: main CONFIG-FILE|--standby')
  const named = argument === '--standby' ? configurationNamed() : Promise.resolve(argument)
  const standby = argument === '--standby' ? await standBy() : null
  const config = readReplicaConfig(await named)
  const { host, vm, replica } = config
  log = processLog({ part: 'replica', host, vm, replica })
  await Replica.start(config, log, standby)
} catch (error) {
  crash(error)
}
