/** What a replica answers on its control socket. */
import { z } from 'zod'
import { checked, type Route, type UpgradeRoute } from '../control/server.ts'
import { cloneOrderSchema } from './config.ts'
import { ReplicaError } from './errors.ts'
import type { Replica } from './replica.ts'
import { limitSchema } from './status.ts'

const saveSchema = z.object({ path: z.string().min(1).max(4096) })

const stopSchema = z.object({ graceMs: z.int().min(0).max(600_000) })

const abandonSchema = z.object({ replica: z.string().max(256) })

/** At a hundredth a second of log takes minutes: slow enough for any test. */
const replayShareSchema = z.object({ share: z.number().min(0.01).max(1) })

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
        path: '/v1/abandon',
        handle: ({ body }) => replica.abandon(checked(abandonSchema, body).replica),
      },
      {
        method: 'POST',
        path: '/v1/save',
        handle: ({ body }) => replica.save(checked(saveSchema, body).path),
      },
      { method: 'POST', path: '/v1/restart', handle: () => replica.restart() },
      { method: 'POST', path: '/v1/pause', handle: () => replica.control({ paused: true }) },
      { method: 'POST', path: '/v1/resume', handle: () => replica.control({ paused: false }) },
      {
        method: 'POST',
        path: '/v1/limit',
        handle: ({ body }) => replica.control({ shareMax: checked(limitSchema, body).share }),
      },
      {
        // For tests and measurements: a backup that cannot keep up.
        method: 'POST',
        path: '/v1/replay-share',
        handle: ({ body }) => replica.slowDown(checked(replayShareSchema, body).share),
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
