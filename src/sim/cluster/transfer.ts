/** The state of a running machine on its way to another host: takes its time, stalls where the network does, and dies with either side. */
import { ADMISSION_MS_MAX } from '../../ft/timing.ts'
import type { Resident, SimulatedHost } from './host.ts'
import type { ClusterWorld } from './world.ts'

/** How often it is looked at whether the state gets on. */
const STEP_MS = 20
/** As src/security/links.ts: no connection by then is none. */
const CONNECT_MS_MAX = 10_000

export class CloneTransfer {
  readonly #world: ClusterWorld
  readonly #source: Resident
  readonly to: SimulatedHost
  /** The incarnation that waits there. */
  readonly #name: string
  readonly #sinceMs: number
  #clone: Resident | null = null
  #leftMs: number
  #isStarted = false
  #boots = 0
  #isOver = false

  constructor(world: ClusterWorld, source: Resident, to: SimulatedHost, name: string) {
    this.#world = world
    this.#source = source
    this.to = to
    this.#name = name
    this.#sinceMs = world.scheduler.nowMs
    this.#leftMs = world.transferMs()
    source.sending = this
    world.scheduler.after(world.network.latencyMs(), () => this.#connect())
  }

  get #ageMs(): number {
    return this.#world.scheduler.nowMs - this.#sinceMs
  }

  get #isCut(): boolean {
    const { network } = this.#world
    const [from, to] = [this.#source.host.name, this.to.name]
    return !this.to.isUp || network.isStalled(from, to) || network.isStalled(to, from)
  }

  #connect(): void {
    if (this.#isOver) return
    if (this.#isCut) {
      if (this.#ageMs > CONNECT_MS_MAX) this.#fail('no connection')
      else this.#world.scheduler.after(STEP_MS, () => this.#connect())
      return
    }
    const waiting = this.to.resident(this.#source.vm)
    if (waiting === null || waiting.name !== this.#name || waiting.process.dead) {
      this.#fail('nobody waits there')
      return
    }
    this.#source.process.deliver(() => waiting.process.deliver(() => this.#begin(waiting)))
  }

  /** The hand-over point: the machine is captured, and admitted by the protocol. */
  #begin(clone: Resident): void {
    if (this.#isOver) return
    const source = this.#source.replica!
    const copy = source.cloneFor(clone.name)
    if (copy === null) {
      this.#fail('the machine is not alone')
      return
    }
    this.#clone = clone
    this.#boots = this.to.boots
    clone.receiving = this
    const { world } = this.#world.vm(clone.vm)
    clone.replica = world.addAt({ host: clone.host.name, process: clone.process }, clone.name, 'backup', {
      clone: copy,
    })
    source.meet(clone.replica)
    this.#world.scheduler.after(STEP_MS, () => this.#go())
  }

  #go(): void {
    if (this.#isOver) return
    if (this.#ageMs > ADMISSION_MS_MAX) {
      this.#fail('it took too long')
      return
    }
    const clone = this.#clone!
    if (this.to.boots !== this.#boots && !this.#isCut) {
      this.#source.process.deliver(() => this.#fail('its host has come back without it'))
      return
    }
    if (this.#source.process.up && clone.process.up && !this.#isCut) this.#leftMs -= STEP_MS
    if (this.#leftMs <= 0 && !this.#isStarted) {
      this.#isStarted = true
      clone.replica!.start(this.#source.replica)
    }
    this.#world.scheduler.after(STEP_MS, () => this.#go())
  }

  /** The protocol of the source has taken the clone as the backup, or has given it up. */
  admitted(isBackup: boolean): void {
    if (this.#isOver) return
    if (!isBackup) this.#fail('the protocol gave it up')
    else this.#end()
  }

  /** The source gives it up. */
  cancel(): void {
    this.#fail('cancelled')
  }

  #fail(why: string): void {
    if (this.#isOver) return
    this.#end()
    this.#world.note(`clone ${this.#name}: ${why}`)
    // Of a machine that is alone this only ends the waiting for the clone.
    this.#source.replica!.step({ kind: 'operation', operation: 'unprotect' })
    this.#source.host.somethingHappened()
    this.#tell(this.#clone)
  }

  /** The process of the source has ended: its kernel closes the connection. */
  sourceClosed(): void {
    if (this.#isOver) return
    this.#end()
    this.#tell(this.#clone)
  }

  /** The process of the clone has ended. */
  cloneClosed(): void {
    if (this.#isOver) return
    this.#afterTheWay(() => this.#source.process.deliver(() => this.#fail('the clone is gone')))
  }

  #tell(clone: Resident | null): void {
    if (clone !== null) this.#afterTheWay(() => clone.process.deliver(() => clone.breakOff()))
  }

  #afterTheWay(work: () => void): void {
    const waitMs = this.#isCut ? STEP_MS : this.#world.network.latencyMs()
    this.#world.scheduler.after(waitMs, () => {
      // To, or from, a host without power nothing is told.
      if (!this.to.isUp || !this.#source.host.isUp) return
      if (this.#isCut) this.#afterTheWay(work)
      else work()
    })
  }

  #end(): void {
    this.#isOver = true
    this.#source.sending = null
  }
}
