/**
 * Tells the network where a MAC address now lives. A replica that goes live sends this once or a few times, so
 * that every switch on the way moves the address to the port the frame came in on.
 *
 * A reverse ARP request (RFC 903) is used, as QEMU and VMware do: it needs no IP address, which the host
 * cannot know, and no guest answers it.
 */
import { ETHERNET_HEADER_BYTES } from './stream.ts'

/** Ethernet's shortest frame without FCS (IEEE 802.3, 3.2.8); switches in hardware drop shorter ones. */
const FRAME_BYTES_MIN = 60
const ETHERTYPE_RARP = 0x8035
const RARP_REQUEST_REVERSE = 3
const MAC_BYTES = 6

/** The broadcast frame that announces `mac` (six bytes). */
export function rarpAnnouncement(mac: Uint8Array): Uint8Array {
  if (mac.length !== MAC_BYTES)
    throw new RangeError(`a MAC address has ${MAC_BYTES} bytes, not ${mac.length}`)
  const frame = new Uint8Array(FRAME_BYTES_MIN)
  const view = new DataView(frame.buffer)
  frame.fill(0xff, 0, MAC_BYTES)
  frame.set(mac, MAC_BYTES)
  view.setUint16(12, ETHERTYPE_RARP)
  const arp = ETHERNET_HEADER_BYTES
  view.setUint16(arp, 1) // hardware: Ethernet
  view.setUint16(arp + 2, 0x0800) // protocol: IPv4
  frame[arp + 4] = MAC_BYTES
  frame[arp + 5] = 4
  view.setUint16(arp + 6, RARP_REQUEST_REVERSE)
  frame.set(mac, arp + 8) // sender; its IPv4 address stays 0
  frame.set(mac, arp + 18) // target
  return frame
}
