import { encodeMessage } from '../ft/channel-codec.ts'
import type { ControlState } from '../ft/control.ts'
import { encodeHeartbeat } from '../ft/heartbeat-codec.ts'
import { PROTOCOL_VERSION } from '../ft/messages.ts'
import type { Connection, Endpoint } from './connection.ts'
import { OUTSIDE } from './outside.ts'
import { Process } from './process.ts'
import { PAIR_KEY, type Replica } from './replica.ts'
import type { World } from './world.ts'

/** During this time faults begin; afterwards everything that can heal heals. */
export const FAULTS_MS = 1_500
/** Longest fault. */
const FAULT_MS_MAX = 1_200
const FAULTS_MAX = 6
/** Longest time a copy of a machine is on its way. */
const CLONE_MS_MAX = 600

/** One kind of fault, struck at the time it is called. */
type Fault = (world: World) => void

/** How often each is drawn, by weight. */
const FAULTS: readonly (readonly [weight: number, name: string, fault: Fault])[] = [
  [4, 'kill primary', (world) => primary(world).kill(false)],
  [3, 'primary host dies', (world) => primary(world).kill(true)],
  [1, 'kill any', (world) => someReplica(world).kill(world.random.chance(0.5))],
  [5, 'pause', (world) => someReplica(world).process.pause(duration(world))],
  [4, 'pause between effects', (world) => someReplica(world).pauseAtNextEffect(duration(world))],
  [3, 'cut both ways', (world) => cut(world, true)],
  [4, 'cut one way', (world) => cut(world, false)],
  [2, 'cut from outside', cutFromOutside],
  [2, 'channel stalls', stall],
  [3, 'reset', (world) => someReplica(world).resetConnections()],
  [3, 'store unreachable for one', storeUnreachableForOne],
  [2, 'store unreachable for all', storeUnreachableForAll],
  [1, 'second backup', secondBackup],
  [6, 'clone', cloneOntoAnother],
  [8, 'clone, and a fault as it arrives', cloneAndFault],
  [1, 'old hello', oldHello],
  [1, 'old heartbeats', oldHeartbeats],
  [1, 'stop', (world) => primary(world).step({ kind: 'operation', operation: 'stop' })],
  [1, 'unprotect', (world) => operate(world, 'unprotect')],
  [1, 'failover', (world) => operate(world, 'failover')],
  [1, 'backup diverges', diverge],
  [3, 'VM paused', (world) => control(world, { paused: true })],
  [2, 'VM resumed', (world) => control(world, { paused: false })],
  [2, 'VM limited', (world) => control(world, { shareMax: world.random.whole(1, 20) / 20 })],
  [3, 'VM paused, and a fault just then', pauseAndFault],
  [1, 'power-off', (world) => primary(world).wantPowerOff()],
]
const WEIGHTS = FAULTS.reduce((sum, [weight]) => sum + weight, 0)

/** Plans the faults of a world, all from its seed. */
export function planFaults(world: World): void {
  const { random, scheduler } = world
  const count = random.whole(0, FAULTS_MAX)
  // Faults that come close together are where the races are.
  const togetherMs = random.between(0, FAULTS_MS)
  for (let index = 0; index < count; index++) {
    const [, name, fault] = draw(world)
    const atMs = random.chance(0.5) ? togetherMs + random.between(0, 300) : random.between(0, FAULTS_MS)
    scheduler.at(Math.min(atMs, FAULTS_MS), () => {
      world.note(`--- ${name}`)
      fault(world)
    })
  }
}

function draw(world: World): (typeof FAULTS)[number] {
  let weight = world.random.whole(1, WEIGHTS)
  for (const fault of FAULTS) {
    weight -= fault[0]
    if (weight <= 0) return fault
  }
  return FAULTS[0]!
}

/** Who serves now; the first there was when nobody does. */
function primary(world: World): Replica {
  return world.replicas.find(({ alive, serves }) => alive && serves) ?? world.replicas[0]!
}

function someReplica(world: World): Replica {
  return world.random.pick(world.replicas)
}

function duration(world: World): number {
  return world.random.magnitude(1, FAULT_MS_MAX)
}

function operate(world: World, operation: 'unprotect' | 'failover'): void {
  primary(world).process.deliver(() => primary(world).step({ kind: 'operation', operation }))
}

/** An operation on a machine that goes on existing. */
function control(world: World, change: Partial<ControlState>): void {
  primary(world).step({ kind: 'control', change })
}

/** The moment at which the backup is told is where it may not hear of it. */
function pauseAndFault(world: World): void {
  const live = primary(world)
  control(world, { paused: true })
  world.scheduler.after(world.random.magnitude(0.1, 8), () => {
    if (world.random.chance(0.7)) live.kill(world.random.chance(0.5))
    else live.process.pause(duration(world))
  })
}

/** The backup finds that its state differs from the log's digest. */
function diverge(world: World): void {
  const backup = world.replicas.find(({ alive, boundTo }) => alive && boundTo !== null) ?? world.replicas[1]!
  backup.process.deliver(() => backup.step({ kind: 'diverged', sequence: 0 }))
}

function cut(world: World, bothWays: boolean): void {
  const { network, scheduler, replicas, random } = world
  const from = random.pick(replicas)
  for (const to of replicas) {
    if (to === from) continue
    network.cut(from.name, to.name)
    if (bothWays) network.cut(to.name, from.name)
    scheduler.after(duration(world), () => {
      network.heal(from.name, to.name)
      network.heal(to.name, from.name)
    })
  }
}

function stall(world: World): void {
  const from = someReplica(world)
  for (const to of world.replicas) {
    if (to === from) continue
    world.network.stall(from.name, to.name)
    world.scheduler.after(duration(world), () => world.network.heal(from.name, to.name))
  }
}

function cutFromOutside(world: World): void {
  const { name } = someReplica(world)
  world.network.cut(name, OUTSIDE)
  world.network.cut(OUTSIDE, name)
  world.scheduler.after(duration(world), () => {
    world.network.heal(name, OUTSIDE)
    world.network.heal(OUTSIDE, name)
  })
}

function storeUnreachableForOne(world: World): void {
  const { name } = someReplica(world)
  world.store.setReachable(name, false)
  world.scheduler.after(duration(world), () => world.store.setReachable(name, true))
}

function storeUnreachableForAll(world: World): void {
  const forMs = duration(world)
  for (const { name } of world.replicas) {
    world.store.setReachable(name, false)
    world.scheduler.after(forMs, () => world.store.setReachable(name, true))
  }
}

/** The backup was restarted, or an operator started another: it dials the same primary. */
function secondBackup(world: World): void {
  const another = world.add(`backup-${world.replicas.length}`, 'backup')
  another.start(primary(world))
}

/** A machine that is alone is copied onto another host; nothing happens while none is. */
function cloneOntoAnother(world: World): void {
  const alone = world.replicas.find(({ alive, isAlone }) => alive && isAlone)
  if (alone !== undefined) world.clone(alone, world.random.magnitude(1, CLONE_MS_MAX))
}

/** The moment at which a copy becomes the backup is where it must not take over too early. */
function cloneAndFault(world: World): void {
  const alone = world.replicas.find(({ alive, isAlone }) => alive && isAlone)
  if (alone === undefined) return
  const transferMs = world.random.magnitude(1, CLONE_MS_MAX)
  world.clone(alone, transferMs)
  world.scheduler.after(transferMs + world.random.magnitude(0.2, 8), () => {
    if (world.random.chance(0.7)) alone.kill(world.random.chance(0.5))
    else alone.process.pause(duration(world))
  })
}

/** An end that says its piece and listens to nothing. */
class Ghost implements Endpoint {
  readonly name = 'ghost'
  readonly host = 'ghost'
  readonly process: Process
  readonly #say: Uint8Array

  constructor(world: World, say: Uint8Array) {
    this.process = new Process(world.scheduler, world.random)
    this.#say = say
  }

  opened(connection: Connection): void {
    connection.write(this, this.#say)
  }

  received(): void {}
  closed(): void {}
}

/** A hello of a generation that is over, to anyone, again and again. */
function oldHello(world: World): void {
  for (const to of world.replicas) {
    const hello = encodeMessage({
      kind: 'hello',
      version: PROTOCOL_VERSION,
      vm: 'vm',
      generation: 0,
      role: to === primary(world) ? 'backup' : 'primary',
      replica: 'ghost',
      sequence: 0,
      logBytesMax: 1_000_000,
    })
    world.connect(new Ghost(world, hello), to)
    world.connect(new Ghost(world, hello), to)
  }
}

/** Heartbeats that a primary of an older generation, of the same name, sends for ever. */
function oldHeartbeats(world: World): void {
  let sequence = 1_000_000
  const beat = (): void => {
    for (const to of world.replicas) {
      const from = world.replicas.find((replica) => replica !== to)!
      const datagram = encodeHeartbeat(
        {
          version: PROTOCOL_VERSION,
          vm: 'vm',
          generation: 0,
          role: from === primary(world) ? 'primary' : 'backup',
          replica: from.name,
          sequence: sequence++,
          sentAtMs: 0,
          echoMs: 1e12,
          releasedSequence: 1_000_000,
        },
        PAIR_KEY,
      )
      world.sendHeartbeat(from, to, datagram)
    }
    world.scheduler.after(20, beat)
  }
  beat()
}
