/** What a replica answers on its control socket. */
import { z } from 'zod'
import { checked, type Route, type UpgradeRoute } from '../control/server.ts'
import { ReplicaError } from './errors.ts'
import type { Replica } from './replica.ts'

const stopSchema = z.object({ graceMs: z.int().min(0).max(600_000) })

export function replicaRoutes(replica: Replica): [Route[], UpgradeRoute[]] {
  return [
    [
      { method: 'GET', path: '/v1/status', handle: () => replica.status() },
      { method: 'GET', path: '/v1/metrics', handle: () => replica.metrics() },
      {
        method: 'POST',
        path: '/v1/stop',
        handle: ({ body }) => replica.stop(checked(stopSchema, body).graceMs),
      },
      {
        method: 'POST',
        path: '/v1/failover',
        handle: () => {
          const { role, protection } = replica.status()
          if (role !== 'primary' || protection !== 'protected') {
            throw new ReplicaError('NOT_PROTECTED', 'This replica has no backup that could take over.')
          }
          replica.failover()
        },
      },
    ],
    [
      {
        path: '/v1/console',
        handle: ({ query }, stream) => replica.console.attach(stream, query.get('history') === '1'),
      },
    ],
  ]
}
