import { UNCONTROLLED } from '../../ft/control.ts'
import { AVOID_MS, CLONE_HOST_GONE_MS } from '../../redundancy/timing.ts'
import type { Violation } from '../checkers.ts'
import type { Random } from '../random.ts'
import { drawWeather } from '../world.ts'
import { FAULT_MS_MAX, planStorm, STORM_MS } from './faults.ts'
import type { SimulatedHost } from './host.ts'
import { type ClusterInjection, NO_CLUSTER_INJECTION } from './injection.ts'
import { type ClusterShape, ClusterWorld, type SimulatedVm } from './world.ts'

const GIB = 1024 ** 3
const HOSTS_MIN = 3
const HOSTS_MAX = 5
const VMS_MAX = 2
/** Until the agents are members and the pairs stand. */
const BEGIN_MS = 3_000

/**
 * A machine is protected again within this time after one failure, with everything else calm and a spare host there. What adds up
 * at worst: finding it out (1 s), a look under way that waits for a host without power (HOST_STATUS_MS_MAX), others as long
 * as its lease seems to stand (twice 3 s for who sees it late), orders, and a transfer of a second.
 */
export const PROTECTED_AGAIN_MS_MAX = 12_000

/** After a storm, hosts at which clones failed are avoided first. */
export const CALM_AGAIN_MS_MAX = AVOID_MS + PROTECTED_AGAIN_MS_MAX

/** Single failures at the end of each world, one after the other. */
const FAILURES = 2
const AGENT_AWAY_MS = 2_000
/** Then clients are watched for this long. */
const WATCH_MS = 600

export interface ClusterOutcome {
  readonly seed: number
  readonly violation: Violation | null
  readonly simulatedMs: number
  readonly steps: number
  readonly replies: number
  readonly takeovers: number
  readonly clones: number
  /** Machines that live at the end. */
  readonly machines: number
  /** From a single failure until all machines were protected again, the longest; 0 when none lost its protection. */
  readonly protectedAgainMs: number
}

/** Runs the cluster of one seed to its end or to the first violation. The same seed gives the same outcome, always. */
export function simulateCluster(
  seed: number,
  injection: ClusterInjection = NO_CLUSTER_INJECTION,
  trace?: (line: string) => void,
): ClusterOutcome {
  const world = new ClusterWorld(seed, drawShape, injection, trace ?? null)
  startVms(world)
  world.advance(BEGIN_MS)
  const hasFaults = planStorm(world)
  world.advance(STORM_MS + FAULT_MS_MAX)
  const all = new Set(world.vms.map(({ name }) => name))
  world.checker.machinesLive(hasFaults ? new Set() : all)
  calm(world)
  settle(world, CALM_AGAIN_MS_MAX, 'after the storm')
  let protectedAgainMs = 0
  for (let failure = 0; failure < FAILURES && world.violation === null; failure++) {
    protectedAgainMs = Math.max(protectedAgainMs, failOnce(world))
  }
  watch(world)
  const { violation } = world
  if (violation !== null) world.note(`!!! ${violation.invariant}: ${violation.detail}`)
  const sum = (of: (vm: SimulatedVm) => number) => world.vms.reduce((total, vm) => total + of(vm), 0)
  return {
    seed,
    violation,
    simulatedMs: world.scheduler.nowMs,
    steps: world.scheduler.steps,
    replies: sum((vm) => vm.world.outside.replies),
    takeovers: sum((vm) => vm.world.checkers.takeovers),
    clones: sum((vm) => vm.world.replicas.filter(({ isClone, wasBound }) => isClone && wasBound).length),
    machines: world.vms.filter((vm) => world.checker.mayLive(vm)).length,
    protectedAgainMs,
  }
}

function drawShape(random: Random): ClusterShape {
  const count = random.whole(HOSTS_MIN, HOSTS_MAX)
  const hasRacks = random.chance(0.3)
  const hosts = Array.from({ length: count }, (_, index) => {
    const name = `host-${index + 1}`
    const failureDomain = hasRacks ? `rack-${(index % 3) + 1}` : name
    return { name, failureDomain, memoryBytes: random.pick([1, 2, 4, 4]) * GIB }
  })
  return {
    hosts,
    leases: random.pick(['etcd', 'directory']),
    weather: drawWeather(random),
    storeLatencyMsMax: random.magnitude(1, 200),
    storeLostAnswers: random.pick([0, 0, 0.1, 0.4]),
  }
}

/** Machines on the hosts with most room, as long as there is room. */
function startVms(world: ClusterWorld): void {
  const count = world.random.whole(1, VMS_MAX)
  for (let index = 0; index < count; index++) {
    const free = (host: SimulatedHost) => host.memoryBytes - host.usedBytes
    const hosts = [...world.hosts].filter((host) => free(host) >= GIB).sort((a, b) => free(b) - free(a))
    const [primary] = hosts
    if (primary === undefined) return
    const apart = hosts.find(({ failureDomain }) => failureDomain !== primary.failureDomain) ?? null
    const backup = world.random.chance(0.9) ? apart : null
    world.run({ name: `vm-${index + 1}`, memoryBytes: GIB, primary, backup })
  }
}

/** Everything heals; some hosts stay dead. */
function calm(world: ClusterWorld): void {
  if (world.violation !== null) return
  world.calmDown()
  for (const host of world.hosts) {
    if (!host.isUp && world.random.chance(0.7)) host.return()
    host.startAgent()
  }
}

/** Waits until every machine that shall be protected and can be is; says how long that took. */
function settle(world: ClusterWorld, withinMs: number, when: string): number {
  if (world.violation !== null) return 0
  const begunMs = world.scheduler.nowMs
  // What is protected now may not be found to be broken yet.
  let calmSinceMs = begunMs
  world.advance(withinMs, () => {
    const { nowMs } = world.scheduler
    if (!isSettled(world)) calmSinceMs = nowMs
    return nowMs - calmSinceMs > FOUND_MS_MAX
  })
  if (world.violation === null && world.scheduler.nowMs - begunMs >= withinMs) {
    world.checker.notProtected(`${when}, within ${withinMs} ms`)
  }
  return calmSinceMs - begunMs
}

/** Whatever a failure breaks is found broken by then: silence, and the arbitration. */
const FOUND_MS_MAX = 2_500

function isSettled(world: ClusterWorld): boolean {
  return world.checker.unprotected().length === 0 && world.vms.every((vm) => isAtRest(world, vm))
}

/** It serves or is gone, and nothing is under way with it. */
function isAtRest(world: ClusterWorld, vm: SimulatedVm): boolean {
  if (!world.checker.mayLive(vm)) return true
  const resident = world.checker.residentOf(vm)
  return resident !== null && resident.sending === null
}

interface Failure {
  readonly name: string
  /** What leads up to it. */
  prepare?(world: ClusterWorld, vm: SimulatedVm): void
  strike(world: ClusterWorld, vm: SimulatedVm): void
}

/** Two failures, but the second costs nothing that the first has not cost: a machine alone, and a spare host. */
const CLONE_HOST_DIES: Failure = {
  name: 'the host of a clone dies',
  prepare(world, vm) {
    backupOf(world, vm)?.resident(vm.name)?.kill(false)
    world.advance(AGENT_AWAY_MS, () => world.checker.residentOf(vm)?.sending != null)
  },
  strike: (world, vm) => world.checker.residentOf(vm)?.sending?.to.die(),
}

const SINGLE_FAILURES: readonly Failure[] = [
  { name: 'a primary dies', strike: (world, vm) => world.checker.residentOf(vm)?.kill(false) },
  { name: 'a backup dies', strike: (world, vm) => backupOf(world, vm)?.resident(vm.name)?.kill(false) },
  { name: 'the host of a primary dies', strike: (world, vm) => world.checker.residentOf(vm)?.host.die() },
  { name: 'the host of a backup dies', strike: (world, vm) => backupOf(world, vm)?.die() },
  CLONE_HOST_DIES,
  { name: 'some host dies', strike: (world) => world.random.pick(world.hosts).die() },
  { name: 'an agent dies', strike: agentDies },
]

function agentDies(world: ClusterWorld): void {
  const host = world.random.pick(world.hosts)
  host.killAgent()
  world.scheduler.after(AGENT_AWAY_MS, () => host.startAgent())
}

function backupOf(world: ClusterWorld, { name }: SimulatedVm): SimulatedHost | null {
  return (
    world.hosts.find(({ residents }) =>
      residents.some(({ vm, replica }) => vm === name && replica?.alive === true && replica.boundTo !== null),
    ) ?? null
  )
}

/** One failure of a calm cluster; returns how long it took until all machines were protected again. */
function failOnce(world: ClusterWorld): number {
  // Operators have given up what could not be had: nobody parts a pair for it now.
  for (const { name } of world.vms) world.registry.wish(name, { primary: null, backup: null })
  // Whatever is avoided or was about to happen is over.
  world.advance(AVOID_MS)
  const failure = world.random.pick(SINGLE_FAILURES)
  const vm = world.random.pick(world.vms)
  world.note(`--- single failure: ${failure.name}`)
  failure.prepare?.(world, vm)
  const mustLive = new Set(world.vms.filter((each) => backupOf(world, each) !== null).map(({ name }) => name))
  failure.strike(world, vm)
  // A host that dies with a clone is given CLONE_HOST_GONE_MS to come back.
  const withinMs = PROTECTED_AGAIN_MS_MAX + (failure === CLONE_HOST_DIES ? CLONE_HOST_GONE_MS : 0)
  const tookMs = settle(world, withinMs, `after: ${failure.name}`)
  world.checker.machinesLive(mustLive)
  for (const host of world.hosts) host.return()
  return tookMs
}

/** At the end whatever lives serves its clients. */
function watch(world: ClusterWorld): void {
  if (world.violation !== null) return
  // A machine that is paused answers nobody, which is no fault.
  for (const vm of world.vms) {
    world.checker.residentOf(vm)?.replica?.step({ kind: 'control', change: UNCONTROLLED })
  }
  const before = world.vms.map((vm) => vm.world.outside.replies)
  world.advance(WATCH_MS)
  if (world.violation !== null) return
  world.vms.forEach((vm, index) => {
    vm.world.checkers.settled(vm.world.outside.replies - before[index]!)
  })
}
