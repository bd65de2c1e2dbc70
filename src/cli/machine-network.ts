import { createConnection } from 'node:net'
import { parseAddress } from '../net/address.ts'
import { FrameSocket } from '../net/frame-socket.ts'
import { Passt, type PublishedPort } from '../net/passt.ts'
import { MachineVerbError } from './machine-errors.ts'

/** What a NIC is plugged into: a peer that speaks QEMU's `-netdev stream`, or a passt of our own. */
export type NicPlug =
  | { readonly kind: 'stream'; readonly address: string }
  | { readonly kind: 'user'; readonly published: readonly PublishedPort[] }

/** The other end of a NIC's cable. */
export interface Cable {
  /** False once the peer is gone; the NIC then hears nothing more. */
  readonly isOpen: boolean
  send(frame: Uint8Array): void
  close(): Promise<void>
}

export interface CableEvents {
  /** `frame` is a copy, the receiver's to keep. */
  received(frame: Uint8Array): void
  /** Told once. */
  lost(why: string): void
}

/** MAC address of NIC `index`: of the block that QEMU hands out. */
export function macAddress(index: number): Uint8Array {
  return Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + index)
}

/** `mac` is the NIC's. Rejects with a NetError or MACHINE_NET_UNREACHABLE when there is nothing to plug into. */
export function plugIn(plug: NicPlug, mac: Uint8Array, events: CableEvents): Promise<Cable> {
  return plug.kind === 'user'
    ? plugIntoPasst(plug.published, mac, events)
    : plugIntoStream(plug.address, events)
}

async function plugIntoStream(address: string, events: CableEvents): Promise<Cable> {
  const socket = createConnection(parseAddress(address))
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', (cause) => {
      reject(new MachineVerbError('MACHINE_NET_UNREACHABLE', `${address}: ${cause.message}.`, { cause }))
    })
  })
  socket.removeAllListeners('error')
  let isClosing = false
  const frames = new FrameSocket(socket, {
    frame: (data) => events.received(Uint8Array.from(data)),
    closed: (reason) => {
      if (!isClosing) events.lost(`${address}: ${reason?.message ?? 'the peer closed the connection'}`)
    },
  })
  return {
    get isOpen() {
      return !frames.isClosed
    },
    send: (frame) => void frames.send(frame),
    close: async () => {
      isClosing = true
      frames.close({ flush: true })
    },
  }
}

async function plugIntoPasst(
  published: readonly PublishedPort[],
  mac: Uint8Array,
  events: CableEvents,
): Promise<Cable> {
  let isOpen = true
  const passt = new Passt(published, mac, {
    frame: (data) => events.received(Uint8Array.from(data)),
    died: (message) => {
      isOpen = false
      events.lost(`passt ended: ${message}`)
    },
  })
  await passt.ready()
  return {
    get isOpen() {
      return isOpen
    },
    send: (frame) => void passt.send(frame),
    close: () => passt.stop(),
  }
}
