/**
 * The cluster as any host's agent serves it: what the command line does, as JSON over HTTP. On the agent's Unix socket for
 * those who may open it, and beyond by certificate and token.
 */
import { z } from 'zod'
import { checked, type Route } from '../control/server.ts'
import { limitSchema } from '../replica/status.ts'
import { hostNameSchema } from '../security/host-name.ts'
import { vmNameSchema } from './agent-api.ts'
import type { Cluster } from './cluster.ts'

const STOP_MS_MAX = 600_000

const stopSchema = z.object({ graceMs: z.int().min(0).max(STOP_MS_MAX) })
const migrateSchema = z.object({ role: z.enum(['primary', 'backup']), to: hostNameSchema })

export function clusterRoutes(cluster: Cluster): Route[] {
  type Params = { readonly [name: string]: string }
  const vmOf = (params: Params) => checked(vmNameSchema, params.vm)
  const hostOf = (params: Params) => checked(hostNameSchema, params.host)
  const ofVm = (verb: string, act: (vm: string, body: unknown) => Promise<unknown>): Route => ({
    method: 'POST',
    path: `/v1/vms/:vm/${verb}`,
    handle: ({ params, body }) => act(vmOf(params), body),
  })
  const ofHost = (verb: string, act: (host: string) => Promise<unknown>): Route => ({
    method: 'POST',
    path: `/v1/hosts/:host/${verb}`,
    handle: ({ params }) => act(hostOf(params)),
  })
  return [
    { method: 'GET', path: '/v1/vms', handle: () => cluster.list() },
    { method: 'GET', path: '/v1/vms/:vm', handle: ({ params }) => cluster.status(vmOf(params)) },
    { method: 'GET', path: '/v1/hosts', handle: () => cluster.hosts() },
    ofVm('stop', (vm, body) => cluster.stop(vm, checked(stopSchema, body).graceMs)),
    ofVm('failover', (vm) => cluster.failover(vm)),
    ofVm('protect', (vm) => cluster.protect(vm)),
    ofVm('unprotect', (vm) => cluster.unprotect(vm)),
    ofVm('restart', (vm) => cluster.restart(vm)),
    ofVm('pause', (vm) => cluster.pause(vm)),
    ofVm('resume', (vm) => cluster.resume(vm)),
    ofVm('limit', (vm, body) => cluster.limit(vm, checked(limitSchema, body).share)),
    ofVm('migrate', (vm, body) => {
      const { role, to } = checked(migrateSchema, body)
      return cluster.migrate(vm, role, to)
    }),
    ofHost('drain', (host) => cluster.drain(host)),
    ofHost('undrain', (host) => cluster.undrain(host)),
  ]
}
