/** What a host agent answers on its control socket. */
import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { openStream } from '../control/client.ts'
import { checked, type Route, TextAnswer, type UpgradeRoute } from '../control/server.ts'
import { savedStateSchema } from '../replica/state-saver.ts'
import { IdentityFiles } from '../security/identity-files.ts'
import { JOIN_PATH, JoinServer, joinRequestSchema } from '../security/join-server.ts'
import type { Refusals } from '../security/refusals.ts'
import type { HostAgent } from './agent.ts'
import { replicaOrderSchema, stopOrderSchema, vmNameSchema } from './agent-api.ts'
import { METRICS_CONTENT_TYPE } from './metrics.ts'

/** A state of some gigabytes goes to a slow disk in this time. */
const SAVE_MS_MAX = 300_000

const saveSchema = z.object({ path: z.string().startsWith('/').max(4096) })

export function agentRoutes(agent: HostAgent): [Route[], UpgradeRoute[]] {
  const { replicas } = agent
  const vmOf = (params: { readonly [name: string]: string }) => checked(vmNameSchema, params.vm)
  /** Passes a request on to the replica. */
  const passed = (verb: string): Route => ({
    method: 'POST',
    path: `/v1/replicas/:vm/${verb}`,
    handle: ({ params, body }) => replicas.call(vmOf(params), `/v1/${verb}`, body),
  })
  return [
    [
      { method: 'GET', path: '/v1/host', handle: () => agent.status() },
      {
        method: 'GET',
        path: '/metrics',
        handle: async () => new TextAnswer(METRICS_CONTENT_TYPE, await agent.metrics()),
      },
      { method: 'POST', path: '/v1/look', handle: () => agent.look() },
      {
        method: 'POST',
        path: '/v1/replicas',
        handle: ({ body }) => replicas.start(checked(replicaOrderSchema, body)),
      },
      {
        method: 'POST',
        path: '/v1/replicas/:vm/stop',
        handle: ({ params, body }) => replicas.stop(vmOf(params), checked(stopOrderSchema, body).graceMs),
      },
      passed('failover'),
      passed('abandon'),
      passed('pause'),
      passed('resume'),
      passed('limit'),
      passed('restart'),
      {
        method: 'POST',
        path: '/v1/replicas/:vm/save',
        handle: ({ params, body }) =>
          replicas.ask(vmOf(params), '/v1/save', savedStateSchema, {
            body: checked(saveSchema, body),
            timeoutMs: SAVE_MS_MAX,
          }),
      },
      { method: 'DELETE', path: '/v1/replicas/:vm', handle: ({ params }) => replicas.remove(vmOf(params)) },
      { method: 'POST', path: '/v1/shutdown', handle: () => agent.shutdown() },
    ],
    [
      {
        // A terminal on the guest's serial console, passed through to the replica.
        path: '/v1/replicas/:vm/console',
        handle: async ({ params, query }, terminal: Duplex) => {
          const vm = vmOf(params)
          const replica = await openStream({ socket: replicas.socket(vm) }, `/v1/console?${query}`)
          replica.on('error', () => terminal.destroy())
          replica.on('close', () => terminal.end())
          terminal.on('close', () => replica.destroy())
          terminal.pipe(replica)
          replica.pipe(terminal)
        },
      },
    ],
  ]
}

/** Where the cluster's authority is, hosts can join: by a token, since they have no certificate yet. */
export async function joinRoute(identityDirectory: string, refusals: Refusals): Promise<Route[]> {
  if (!existsSync(new IdentityFiles(identityDirectory).caKey)) return []
  const joins = await JoinServer.open(identityDirectory, refusals)
  return [
    {
      method: 'POST',
      path: JOIN_PATH,
      isOpen: true,
      handle: ({ body, from }) => joins.join(checked(joinRequestSchema, body), from),
    },
  ]
}
