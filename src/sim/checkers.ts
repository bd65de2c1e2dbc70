import { Backup } from '../ft/backup.ts'
import { type ControlState, UNCONTROLLED } from '../ft/control.ts'
import { Primary } from '../ft/primary.ts'
import type { CounterOutput, DiskWrite } from './counter-machine.ts'
import type { Effect, ProtocolEvent, Replica } from './replica.ts'
import type { SimulatedStore } from './store.ts'
import type { Injection } from './world.ts'

/** Which invariant was broken, and how. The names are those of docs/protocol.md, "What must hold" and "The simulator". */
export interface Violation {
  readonly invariant:
    | 'output-requirement'
    | 'output-rule'
    | 'one-live-machine'
    | 'acknowledged-input'
    | 'harmless-pause'
    | 'explicit-operation'
    | 'control'
    | 'placement'
    | 'machine-lost'
    | 'protected-again'
    | 'liveness'
  readonly detail: string
}

const CONTROL_REPORTS: ReadonlySet<string> = new Set(['paused', 'resumed', 'limited'])

/** What explicit operations have made of a replica's machine, and would be found after its loss. */
function controlOf(replica: Replica, goLive: Extract<Effect, { kind: 'go-live' }> | null): ControlState {
  if (goLive !== null && 'control' in goLive) return goLive.control
  if (!(replica.protocol instanceof Primary)) throw new Error(`${replica.name} is no primary`)
  return replica.protocol.status(0).control
}

/**
 * Watches the whole world, as no replica can, and says at which step an invariant breaks.
 *
 * It knows the truth: what every machine computed, who won what, and what reached the outside. It never feeds
 * anything back.
 */
export class Checkers {
  readonly #store: SimulatedStore
  readonly #injection: Injection
  readonly #replicas: readonly Replica[]
  #violation: Violation | null = null
  /** Who went live in which generation. */
  readonly #live = new Map<number, Replica>()
  /** What reached the outside: a digest of each output, by index. */
  readonly #emitted = new Map<number, number>()
  /** Requests that a client knows to have been counted, and as what. */
  readonly #acknowledged = new Map<number, number>()
  /** Explicit operations that were completed: the VM is down by intention. */
  #down = false
  /** How the next live machine may be found: as was last confirmed, or as an operation since then made it. */
  #controls: ControlState[] = [UNCONTROLLED]
  /** Slices that ended since a replica's machine was paused; none for one that is not. */
  readonly #pausedSlices = new Map<Replica, number>()

  /**
   * @param replicas all there are; may grow.
   * @param injection a rule that is switched off is not looked for by name: what shows is the harm it prevents.
   */
  constructor(store: SimulatedStore, replicas: readonly Replica[], injection: Injection) {
    this.#store = store
    this.#injection = injection
    this.#replicas = replicas
  }

  get violation(): Violation | null {
    return this.#violation
  }

  /** How often a replica other than the one before went live. */
  get takeovers(): number {
    return new Set(this.#live.values()).size - (this.#live.size > 0 ? 1 : 0)
  }

  /** The VM was stopped, or powered itself off, and that is complete. */
  get down(): boolean {
    return this.#down
  }

  #broken(invariant: Violation['invariant'], detail: string): void {
    this.#violation ??= { invariant, detail }
  }

  /** The newest generation that went live, and in whom. */
  #newest(): { readonly generation: number; readonly replica: Replica } | null {
    const generation = Math.max(0, ...this.#live.keys())
    return generation === 0 ? null : { generation, replica: this.#live.get(generation)! }
  }

  /** A replica took one step; its effects are not carried out yet. */
  stepped(replica: Replica, event: ProtocolEvent, effects: readonly Effect[]): void {
    if (event.kind === 'control') this.#controlled(replica, event.change)
    if (event.kind === 'frame-recorded') this.#ranSlice(replica)
    for (const effect of effects) {
      if (effect.kind === 'go-live') {
        this.#wentLive(replica, effect.generation)
        this.#wentLiveAs(replica, controlOf(replica, effect))
      } else if (effect.kind === 'release-outputs') this.#released(replica, effect.throughSequence)
      else if (effect.kind === 'end' && (effect.reason === 'stopped' || effect.reason === 'power-off')) {
        this.#down = true
      } else if (effect.kind === 'report' && CONTROL_REPORTS.has(effect.report.type)) {
        if (this.#isNewest(replica)) this.#controls = [controlOf(replica, null)]
      }
    }
  }

  #isNewest(replica: Replica): boolean {
    const newest = this.#newest()
    return newest === null || newest.replica === replica
  }

  /** Invariant 7: a machine is found as paused and as limited as whoever did that was told. */
  #wentLiveAs(replica: Replica, control: ControlState): void {
    const { paused, shareMax } = control
    if (!this.#controls.some((possible) => possible.paused === paused && possible.shareMax === shareMax)) {
      const found = `${replica.name} went live as ${JSON.stringify(control)}`
      this.#broken('control', `${found}, which may be ${JSON.stringify(this.#controls)}`)
    }
    this.#controls = [control]
    if (paused && !this.#pausedSlices.has(replica)) this.#pausedSlices.set(replica, 1)
  }

  #controlled(replica: Replica, change: Partial<ControlState>): void {
    if (this.#isNewest(replica)) this.#controls.push({ ...this.#controls.at(-1)!, ...change })
    if (change.paused === true) this.#pausedSlices.set(replica, this.#pausedSlices.get(replica) ?? 0)
    else if (change.paused === false) this.#pausedSlices.delete(replica)
  }

  /** A slice that is under way when its machine is paused ends; no other begins. */
  #ranSlice(replica: Replica): void {
    const slices = this.#pausedSlices.get(replica)
    if (slices === undefined) return
    this.#pausedSlices.set(replica, slices + 1)
    if (slices > 0) this.#broken('control', `${replica.name} runs on although it is paused`)
  }

  /** Invariants 1, 3, 4 and 6 at the moment a machine goes live. */
  #wentLive(replica: Replica, generation: number): void {
    const other = this.#live.get(generation)
    if (other !== undefined && other !== replica) {
      this.#broken(
        'one-live-machine',
        `${replica.name} and ${other.name} are live in generation ${generation}`,
      )
    }
    if (this.#injection.testAndSet && this.#store.winnerOf(generation) !== replica.name) {
      this.#broken(
        'one-live-machine',
        `${replica.name} went live in generation ${generation} without winning it`,
      )
    }
    const newest = this.#newest()
    if (newest !== null && newest.generation > generation) {
      this.#broken(
        'one-live-machine',
        `${replica.name} went live in generation ${generation}, after a newer one`,
      )
    }
    // A primary may have to win a generation only to release its last outputs; a backup never has a reason to.
    if (this.#down && replica.protocol instanceof Backup)
      this.#broken('explicit-operation', `${replica.name} went live after the VM was ended`)
    this.#live.set(generation, replica)
    for (const [index, digest] of this.#emitted) this.#consistent(replica, index, digest)
    for (const [request, value] of this.#acknowledged) this.#kept(replica, request, value)
  }

  #consistent(replica: Replica, index: number, digest: number): void {
    if (replica.machine.outputDigest(index) === digest) return
    const detail = `output ${index} reached the outside, but ${replica.name} made another or none`
    this.#broken('output-requirement', detail)
  }

  #kept(replica: Replica, request: number, value: number): void {
    if (replica.machine.countOf(request) === value) return
    const detail = `request ${request} was answered as ${value}, but ${replica.name} has ${replica.machine.countOf(request)}`
    this.#broken('acknowledged-input', detail)
  }

  /** Invariants 2 and 5 at the moment a replica decides to release. */
  #released(replica: Replica, throughSequence: number): void {
    const newest = this.#newest()
    if (this.#injection.testAndSet && newest !== null && newest.replica !== replica) {
      this.#broken('harmless-pause', `${replica.name} released outputs while ${newest.replica.name} was live`)
    }
    if (replica.protocol instanceof Backup || !this.#injection.outputRule) return
    const { backup } = replica.protocol.status(0)
    if (backup === null) return
    const bound = this.#replicas.find(({ name }) => name === backup)!
    if (!(bound.protocol instanceof Backup)) return
    const received = bound.protocol.status().receivedSequence
    if (received >= throughSequence) return
    this.#broken(
      'output-rule',
      `${replica.name} released frame ${throughSequence}, ${backup} has frame ${received}`,
    )
  }

  /** An output got past the gateway's fence. */
  emitted(replica: Replica, generation: number, output: CounterOutput): void {
    const newest = this.#newest()!
    const digest = replica.machine.outputDigest(output.index)!
    const before = this.#emitted.get(output.index)
    if (before !== undefined && before !== digest) {
      this.#broken('output-requirement', `output ${output.index} reached the outside twice, and differs`)
    }
    this.#emitted.set(output.index, digest)
    // What was under way when another went live is harmless as long as that one made the same output.
    if (generation < newest.generation) this.#consistent(newest.replica, output.index, digest)
  }

  /** A write got past the disk's fence: the newest live machine must agree that it is the last of its sector. */
  written(replica: Replica, write: DiskWrite): void {
    const newest = this.#newest()!.replica
    const last = newest.machine.newestWrite(write.sector)
    const agrees = last !== null && last.id === write.id && last.value === write.value
    if (agrees) return
    const detail = `${replica.name} wrote sector ${write.sector} (write ${write.id}), the last is ${last?.id ?? 'none'}`
    this.#broken('harmless-pause', detail)
  }

  /** A client got an answer. */
  acknowledged(request: number, value: number): void {
    const before = this.#acknowledged.get(request)
    if (before !== undefined && before !== value) {
      this.#broken('acknowledged-input', `request ${request} was counted as ${before} and as ${value}`)
    }
    this.#acknowledged.set(request, value)
  }

  /**
   * All faults are over and the world has settled: the winner of the newest generation serves; or its host died, and
   * then the backup bound to it has taken over; unless the VM was ended, or nobody is left.
   */
  settled(repliesLately: number, isRestored = false): void {
    const generation = this.#store.newestGeneration
    const winner = this.#replicas.find(({ name }) => name === this.#store.winnerOf(generation))
    const serving = this.#replicas.filter((replica) => replica.alive && replica.serves)
    if (serving.length > 1) {
      this.#broken(
        'one-live-machine',
        `${serving.map(({ name }) => name).join(' and ')} both serve at the end`,
      )
    }
    if (this.#down) {
      if (serving.length > 0)
        this.#broken('explicit-operation', `${serving[0]!.name} serves after the VM was ended`)
      return
    }
    if (winner === undefined) {
      const claimant = this.#replicas.find((replica) => replica.alive && replica.protocol instanceof Primary)
      if (claimant !== undefined) this.#broken('liveness', `${claimant.name} never won its own generation`)
      return
    }
    if (winner.alive) {
      if (winner.waits) return
      if (!winner.serves)
        this.#broken('liveness', `${winner.name} won generation ${generation} and does not serve`)
      else if (repliesLately === 0)
        this.#broken('liveness', `${winner.name} serves, but no client gets an answer`)
      else if (isRestored && winner.isUnprotected)
        this.#broken('liveness', `${winner.name} is not protected again`)
      return
    }
    const heir = this.#replicas.find((replica) => replica.alive && replica.boundTo === winner.name)
    if (heir !== undefined)
      this.#broken('liveness', `${winner.name} is gone and ${heir.name} did not take over`)
  }
}
