/** The replica's port at the gateway, as the rest of the replica sees it. */
import { connectPort } from '../net/port.ts'
import type { LinkAccess } from './channel.ts'
import type { ReplicaConfig } from './config.ts'
import type { NetworkPort } from './outside.ts'

export interface NetworkEvents {
  /** A frame for the guest; `frame` is valid until the call returns. */
  frameArrived(frame: Uint8Array): void
  /** Another replica is live: this one must halt. */
  fenced(reason: string): void
}

/** Links up with the gateway. Rejects when it is not there or refuses; a link that breaks later mends itself. */
export async function connectNetwork(
  config: ReplicaConfig,
  access: LinkAccess,
  events: NetworkEvents,
): Promise<NetworkPort> {
  const port = await connectPort({
    address: config.gatewayAddress,
    ...access,
    vm: config.vm,
    replica: `${config.host}/${process.pid}`,
    generation: config.generation,
    token: config.gatewayToken,
    onFrame: (frame) => events.frameArrived(frame),
    onFenced: (reason) => events.fenced(reason),
  })
  return {
    goLive: (generation) => {
      // A refusal also reaches `onFenced`; anything else mends itself.
      port.goLive(generation).catch(() => {})
    },
    send: (frame) => void port.send(frame),
    taken: (frames) => port.taken(frames),
    close: () => port.close(),
  }
}
