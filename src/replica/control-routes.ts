/** What a replica answers on its control socket. */
import { z } from 'zod'
import { checked, type Route, type UpgradeRoute } from '../control/server.ts'
import { cloneOrderSchema } from './config.ts'
import { ReplicaError } from './errors.ts'
import type { Replica } from './replica.ts'

const saveSchema = z.object({ path: z.string().min(1).max(4096) })

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
      { method: 'POST', path: '/v1/unprotect', handle: () => replica.unprotect() },
      {
        method: 'POST',
        path: '/v1/clone',
        handle: ({ body }) => replica.clone(checked(cloneOrderSchema, body)),
      },
      {
        method: 'POST',
        path: '/v1/save',
        handle: ({ body }) => replica.save(checked(saveSchema, body).path),
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
