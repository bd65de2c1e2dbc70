/** One agent asks another, or a replica of its host: with a time limit, over a network that may be cut, to whoever may be dead. */
import type { SimulatedAgent } from './agent.ts'
import type { Resident, SimulatedHost } from './host.ts'
import type { ClusterWorld } from './world.ts'

/** As src/control/client.ts, unless the caller says otherwise. */
export const CALL_MS_MAX = 5_000
const RETRANSMIT_MS = 200
/** A connection is probed this often (src/security/links.ts): a host that has come back knows of none. */
const PROBE_MS = 1_000

/** What went wrong: the codes of the real calls, as far as anybody asks for them. */
export type CallFailure = 'timeout' | 'unreachable' | 'VM_EXISTS' | 'HOST_FULL' | 'refused'

export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: CallFailure }

export function failed(failure: CallFailure): { readonly ok: false; readonly failure: CallFailure } {
  return { ok: false, failure }
}

/** `work` is done by the other agent, which answers when it likes. `done` is called once, while the caller lives. */
export function callAgent<T>(
  world: ClusterWorld,
  from: SimulatedAgent,
  to: SimulatedHost,
  timeoutMs: number,
  work: (agent: SimulatedAgent, answer: (answer: Answer<T>) => void) => void,
  done: (answer: Answer<T>) => void,
): void {
  let isSettled = false
  const settle = (answer: Answer<T>) => {
    if (isSettled) return
    isSettled = true
    done(answer)
  }
  const back = (answer: Answer<T>) =>
    overTheWire(world, to, from.host, () => from.process.deliver(() => settle(answer)))
  from.process.timer(timeoutMs, () => settle(failed('timeout')))
  overTheWire(world, from.host, to, () => {
    const agent = to.agent
    if (agent === null) {
      back(failed('unreachable'))
      return
    }
    const { boots } = to
    const probe = () => {
      if (isSettled) return
      if (to.isUp && to.boots !== boots && !world.network.isStalled(from.host.name, to.name)) {
        settle(failed('unreachable'))
      } else from.process.timer(PROBE_MS, probe)
    }
    from.process.timer(PROBE_MS, probe)
    agent.onClose(() => back(failed('unreachable')))
    agent.process.deliver(() => work(agent, back))
  })
}

/** Calls `arrived` once the way is free; a connection gives up in the end, but not before its caller does. */
function overTheWire(
  world: ClusterWorld,
  from: SimulatedHost,
  to: SimulatedHost,
  arrived: () => void,
  triesLeft = 400,
): void {
  world.scheduler.after(world.network.latencyMs(), () => {
    if (to.isUp && !world.network.isStalled(from.name, to.name)) arrived()
    else if (triesLeft > 0) {
      world.scheduler.after(RETRANSMIT_MS, () => overTheWire(world, from, to, arrived, triesLeft - 1))
    }
  })
}

/** A replica of the agent's own host, on its control socket. What it was told while it was paused it does when it goes on. */
export function callReplica(
  agent: SimulatedAgent,
  resident: Resident | null,
  work: (resident: Resident) => boolean,
  done: (answer: Answer<null>) => void,
): void {
  if (resident === null || resident.process.dead || resident.replica === null) {
    done(failed('unreachable'))
    return
  }
  let isSettled = false
  const settle = (answer: Answer<null>) => {
    if (isSettled) return
    isSettled = true
    done(answer)
  }
  agent.process.timer(CALL_MS_MAX, () => settle(failed('timeout')))
  resident.process.deliver(() => {
    const isDone = work(resident)
    agent.process.deliver(() => settle(isDone ? { ok: true, value: null } : failed('refused')))
  })
}
