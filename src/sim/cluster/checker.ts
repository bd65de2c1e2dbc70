import type { BackupReport } from '../../ft/backup-events.ts'
import type { PrimaryReport } from '../../ft/primary-events.ts'
import type { Violation } from '../checkers.ts'
import type { Replica } from '../replica.ts'
import { machineOf } from './agent.ts'
import type { Resident, SimulatedHost } from './host.ts'
import type { ClusterWorld, SimulatedVm } from './world.ts'

/**
 * What must hold of a cluster beyond what must hold of each of its machines (`../checkers.ts`): where replicas are, that no
 * machine is lost but by the death of what carried it, and that redundancy comes back. Knows the truth, feeds nothing back.
 */
export class ClusterChecker {
  readonly #world: ClusterWorld
  #violation: Violation | null = null
  readonly #killed = new Set<Replica>()
  /** Hosts that people have named for a machine: there it may share a failure domain. */
  readonly #named = new Map<string, Set<string>>()

  constructor(world: ClusterWorld) {
    this.#world = world
  }

  get violation(): Violation | null {
    return this.#violation
  }

  #broken(invariant: Violation['invariant'], detail: string): void {
    this.#violation ??= { invariant, detail }
  }

  named(vm: string, host: string): void {
    this.#named.set(vm, (this.#named.get(vm) ?? new Set()).add(host))
  }

  /** A fault has struck this replica, not anything that was decided. */
  killed(replica: Replica): void {
    this.#killed.add(replica)
  }

  /** A replica's process begins on a host. */
  admitted(host: SimulatedHost): void {
    if (host.usedBytes <= host.memoryBytes) return
    this.#broken('placement', `${host.name} has ${host.memoryBytes} bytes and carries ${host.usedBytes}`)
  }

  reported({ name }: SimulatedVm, replica: Replica, report: PrimaryReport | BackupReport): void {
    if (report.type !== 'protected' || !('backup' in report)) return
    const primary = this.#world.host(replica.host)
    const backup = this.#world.host(report.backup.split('/')[0]!)
    const pair = `${name}: ${replica.name} and ${report.backup}`
    if (primary === backup) this.#broken('placement', `${pair} are on one host`)
    const named = this.#named.get(name)
    if (named?.has(primary.name) === true || named?.has(backup.name) === true) return
    if (primary.failureDomain === backup.failureDomain) {
      this.#broken('placement', `${pair} are both in ${primary.failureDomain}`)
    }
  }

  /** No machine is gone but those whose carrier was killed; `mustLive` says which may not be gone at all. */
  machinesLive(mustLive: ReadonlySet<string>): void {
    for (const vm of this.#world.vms) {
      const { world, name } = vm
      if (world.checkers.down || this.mayLive(vm)) continue
      const winner = world.replicas.find(
        (replica) => replica.name === world.store.winnerOf(world.store.newestGeneration),
      )
      if (winner === undefined) continue
      if (mustLive.has(name)) this.#broken('machine-lost', `${name} was protected, and is gone`)
      else if (!this.#killed.has(winner)) {
        this.#broken('machine-lost', `${name} is gone, and nothing has killed ${winner.name}`)
      }
    }
  }

  /** Some replica of it serves, or can be counted on to. */
  mayLive({ world }: SimulatedVm): boolean {
    return world.replicas.some(
      (replica) => replica.alive && (replica.serves || replica.boundTo !== null || replica.contends),
    )
  }

  /** Time is up. */
  notProtected(when: string): void {
    const [first = 'something is still under way'] = this.unprotected()
    this.#broken('protected-again', `${first}, ${when}`)
  }

  /** The machines that shall be protected, could be, and are not; with what is the matter. */
  unprotected(): string[] {
    return this.#world.vms.flatMap((vm) => {
      const resident = this.residentOf(vm)
      const machine = resident === null ? null : machineOf(resident)
      if (resident === null || machine === null || machine.protection === 'protected') return []
      if (this.#world.registry.wishes.get(vm.name)?.protect !== true) return []
      const spare = this.#spareFor(resident.host)
      return spare === null
        ? []
        : [`${vm.name} on ${resident.host.name} is alone although ${spare.name} is there`]
    })
  }

  /** The replica that serves, when its host's agent can do something about it. */
  residentOf({ name }: SimulatedVm): Resident | null {
    const residents = this.#world.hosts.flatMap((host) => host.resident(name) ?? [])
    const serving = residents.filter(({ replica }) => replica?.alive === true && replica.serves)
    return serving.find(({ host }) => host.agent !== null) ?? null
  }

  /** A host on which a backup could be, by every rule. */
  #spareFor(primary: SimulatedHost): SimulatedHost | null {
    // Every machine may need the same room, and each may hold some twice while it moves.
    const neededBytes = this.#world.vms.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
    const spare = this.#world.hosts.find((host) => {
      const isApart = host !== primary && host.failureDomain !== primary.failureDomain
      const isOpen = host.agent !== null && !this.#world.registry.draining.has(host.name)
      return isApart && isOpen && host.memoryBytes >= neededBytes
    })
    return spare ?? null
  }
}
