/** The copies that are made of a live machine while it runs, one at a time: for a backup on another host, or for a file. */

import type { LinkAccess } from './channel.ts'
import { type CloneProgress, CloneSender } from './clone-sender.ts'
import type { CloneOrder } from './config.ts'
import { ReplicaError } from './errors.ts'
import { roundedFigures } from './figures.ts'
import type { PrimaryShell } from './primary-shell.ts'
import type { ReplicaParts } from './shell.ts'
import { type SavedState, StateSaver } from './state-saver.ts'
import type { CopyReport } from './thread-messages.ts'

export class MachineCopies {
  readonly #parts: ReplicaParts
  readonly #access: LinkAccess
  #sender: CloneSender | null = null
  #saver: StateSaver | null = null

  constructor(parts: ReplicaParts, access: LinkAccess) {
    this.#parts = parts
    this.#access = access
  }

  /** Of the clone that is being made; null when there is none. */
  get progress(): CloneProgress | null {
    return this.#sender?.progress ?? null
  }

  /**
   * Clones the machine that runs alone behind `shell` onto the replica that waits for it, and makes that its backup. Begins,
   * and tells by events how it goes. `drive` gives the shell its turn. Throws CLONE_NOT_POSSIBLE.
   */
  clone(order: CloneOrder, shell: PrimaryShell, drive: (turn: () => void) => void): void {
    const { phase, protection, generation } = shell.status()
    if (phase !== 'running' || protection !== 'unprotected') throw notPossible('is not alone')
    this.#assertFree()
    const { cpu, channels, heartbeats, metrics, config, event } = this.#parts
    const { peer, replica, pairKey } = order
    event('cloning', { to: peer.host, replica })
    this.#sender = new CloneSender({
      ...{ vm: config.vm, generation, order, access: this.#access, cpu },
      admit: ({ sequence }) => drive(() => shell.admit(replica, sequence)),
      call: () => {
        heartbeats.useKey(Buffer.from(pairKey, 'hex'))
        heartbeats.sendTo({ address: peer.address, port: peer.heartbeatPort })
        channels.call(peer.address, peer.channelPort)
      },
      ended: (outcome, reason, figures) => {
        this.#sender = null
        const { durationMs, stopMsMax, sentBytes } = figures
        metrics.cloneSent(sentBytes)
        metrics.cloneEnded(outcome === 'cloned' ? { durationMs, guestStopMs: stopMsMax } : 'failed')
        const to = { to: peer.host, ...roundedFigures({ ...figures }) }
        if (outcome === 'cloned') {
          event('cloned', to)
          return
        }
        channels.callOff()
        // Of a machine that is alone this only ends the waiting for the clone.
        drive(() => shell.operation('unprotect'))
        event('clone-failed', { ...to, detail: reason?.message ?? '' })
      },
    })
  }

  /** Writes the machine as of now into a snapshot file. Throws CLONE_NOT_POSSIBLE; rejects when it fails. */
  async save(path: string): Promise<SavedState> {
    this.#assertFree()
    this.#saver = new StateSaver(path, this.#parts.cpu)
    try {
      return await this.#saver.saved
    } finally {
      this.#saver = null
    }
  }

  /** What the CPU thread says of the copy comes here. */
  reported(report: CopyReport): void {
    this.#sender?.reported(report)
    this.#saver?.reported(report)
  }

  /** The protocol has taken the clone as the backup, or has given it up. */
  admitted(isBackup: boolean): void {
    this.#sender?.admitted(isBackup)
  }

  /** Gives up the clone that is being made; false when there is none. */
  cancelClone(): boolean {
    if (this.#sender === null) return false
    this.#sender.cancel()
    return true
  }

  /** The machine ends. */
  end(): void {
    this.#sender?.cancel()
    this.#saver?.cancel()
  }

  #assertFree(): void {
    if (this.#sender !== null || this.#saver !== null) throw notPossible('is being copied')
  }
}

function notPossible(why: string): ReplicaError {
  return new ReplicaError('CLONE_NOT_POSSIBLE', `The machine ${why}.`)
}
