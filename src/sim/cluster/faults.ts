/** What befalls a cluster: faults of hosts, agents, replicas, network and store; and what operators wish meanwhile. */
import type { Random } from '../random.ts'
import type { SimulatedHost } from './host.ts'
import type { ClusterWorld, SimulatedVm } from './world.ts'

/** During this time faults begin. */
export const STORM_MS = 8_000
/** Longest fault: longer than a lease. */
export const FAULT_MS_MAX = 4_500
const FAULTS_MAX = 5
const WISHES_MAX = 5

/** One kind of event, at the time it is called. */
type Strike = (world: ClusterWorld) => void

type Weighted = readonly (readonly [weight: number, name: string, strike: Strike])[]

const FAULTS: Weighted = [
  [4, 'replica dies', (world) => world.random.pick(residents(world))?.kill(false)],
  [4, 'host dies', (world) => hostDies(world, world.random.pick(world.hosts))],
  [3, 'host dies during a clone', (world) => hostDies(world, hostOfClone(world))],
  [4, 'agent dies', (world) => agentDies(world, world.random.pick(world.hosts))],
  [3, 'agent that does something dies', (world) => agentDies(world, hostOfStep(world))],
  [3, 'host stands still', (world) => world.random.pick(world.hosts).pause(duration(world))],
  [3, 'agent stands still', (world) => world.random.pick(world.hosts).agent?.process.pause(duration(world))],
  [3, 'replica stands still', (world) => world.random.pick(residents(world))?.process.pause(duration(world))],
  [3, 'host cut off', (world) => cutOff(world, world.random.pick(world.hosts))],
  [3, 'cut between two', cutBetween],
  [3, 'store unreachable for one', (world) => storeAway(world, [world.random.pick(world.hosts)])],
  [2, 'store unreachable for all', (world) => storeAway(world, world.hosts)],
]

const WISHES: Weighted = [
  [3, 'migrate primary', (world) => migrate(world, 'primary')],
  [3, 'migrate backup', (world) => migrate(world, 'backup')],
  [3, 'drain', (world) => drain(world, world.random.pick(world.hosts), true)],
  [3, 'undrain', (world) => drain(world, world.random.pick(world.hosts), false)],
  [1, 'unprotect', (world) => wish(world, someVm(world), { protect: false })],
  [2, 'protect', (world) => wish(world, someVm(world), { protect: true })],
  [2, 'failover', (world) => operate(world, 'failover')],
  [1, 'pause', (world) => control(world, { paused: true })],
  [1, 'resume', (world) => control(world, { paused: false })],
  [1, 'limit', (world) => control(world, { shareMax: world.random.whole(1, 20) / 20 })],
]

/** Plans what befalls a world, all from its seed; whether there are faults among it. */
export function planStorm(world: ClusterWorld): boolean {
  const { random } = world
  const faults = random.chance(0.2) ? 0 : random.whole(1, FAULTS_MAX)
  plan(world, FAULTS, faults)
  plan(world, WISHES, random.whole(0, WISHES_MAX))
  return faults > 0
}

function plan(world: ClusterWorld, kinds: Weighted, count: number): void {
  const { random, scheduler } = world
  const begunMs = scheduler.nowMs
  // What comes close together is where the races are.
  const togetherMs = random.between(0, STORM_MS)
  for (let index = 0; index < count; index++) {
    const [, name, strike] = draw(random, kinds)
    const atMs = random.chance(0.5) ? togetherMs + random.between(0, 1_000) : random.between(0, STORM_MS)
    scheduler.at(begunMs + Math.min(atMs, STORM_MS), () => {
      world.note(`--- ${name}`)
      strike(world)
    })
  }
}

function draw(random: Random, kinds: Weighted): Weighted[number] {
  let weight = random.whole(
    1,
    kinds.reduce((sum, [each]) => sum + each, 0),
  )
  for (const kind of kinds) {
    weight -= kind[0]
    if (weight <= 0) return kind
  }
  return kinds[0]!
}

function residents(world: ClusterWorld) {
  return world.hosts.flatMap((host) => host.residents)
}

function duration(world: ClusterWorld): number {
  return world.random.magnitude(5, FAULT_MS_MAX)
}

function hostDies(world: ClusterWorld, host: SimulatedHost): void {
  host.die()
  // Others stay away until all is calm.
  if (world.random.chance(0.6)) world.scheduler.after(duration(world), () => host.return())
}

/** The host of a replica that waits for its state, or is being sent it. */
function hostOfClone(world: ClusterWorld): SimulatedHost {
  const waiting = residents(world).find(
    ({ replica }) => replica?.wasBound !== true && replica?.serves !== true,
  )
  return waiting?.host ?? world.random.pick(world.hosts)
}

function agentDies(world: ClusterWorld, host: SimulatedHost): void {
  host.killAgent()
  world.scheduler.after(duration(world), () => host.startAgent())
}

/** The host from which a machine is being cloned. */
function hostOfStep(world: ClusterWorld): SimulatedHost {
  const ordered = world.hosts.find((host) => host.residents.some(({ replica }) => replica?.isAlone === true))
  return ordered ?? world.random.pick(world.hosts)
}

function cutOff(world: ClusterWorld, host: SimulatedHost): void {
  for (const other of world.hosts) if (other !== host) cut(world, host, other, true, duration(world))
}

function cutBetween(world: ClusterWorld): void {
  const [a, b] = [world.random.pick(world.hosts), world.random.pick(world.hosts)]
  if (a !== b) cut(world, a, b, world.random.chance(0.5), duration(world))
}

function cut(
  { network, scheduler }: ClusterWorld,
  from: SimulatedHost,
  to: SimulatedHost,
  bothWays: boolean,
  forMs: number,
): void {
  network.cut(from.name, to.name)
  if (bothWays) network.cut(to.name, from.name)
  scheduler.after(forMs, () => {
    network.heal(from.name, to.name)
    network.heal(to.name, from.name)
  })
}

function storeAway({ storeAccess, scheduler, random }: ClusterWorld, hosts: readonly SimulatedHost[]): void {
  const forMs = random.magnitude(5, FAULT_MS_MAX)
  for (const { name } of hosts) {
    storeAccess.setReachable(name, false)
    scheduler.after(forMs, () => storeAccess.setReachable(name, true))
  }
}

// --- operators ---

function someVm(world: ClusterWorld): SimulatedVm {
  return world.random.pick(world.vms)
}

/** As src/cluster/cluster.ts does: what is wished goes into the store, and the host that sees to it is told. */
export function wish(
  world: ClusterWorld,
  { name }: SimulatedVm,
  change: Parameters<ClusterWorld['registry']['wish']>[1],
): void {
  world.registry.wish(name, change)
  for (const host of [change.primary, change.backup]) if (host) world.checker.named(name, host)
  for (const host of world.hosts) host.agent?.look()
}

function migrate(world: ClusterWorld, role: 'primary' | 'backup'): void {
  const to = world.random.pick(world.hosts).name
  wish(world, someVm(world), { primary: null, backup: null, [role]: to })
}

export function drain(world: ClusterWorld, { name }: SimulatedHost, draining: boolean): void {
  if (draining) world.registry.draining.add(name)
  else world.registry.draining.delete(name)
  for (const host of world.hosts) host.agent?.look()
}

function operate(world: ClusterWorld, operation: 'failover'): void {
  const { replica } = world.checker.residentOf(someVm(world)) ?? {}
  replica?.process.deliver(() => replica.step({ kind: 'operation', operation }))
}

function control(world: ClusterWorld, change: { paused?: boolean; shareMax?: number }): void {
  world.checker.residentOf(someVm(world))?.replica?.step({ kind: 'control', change })
}
