/**
 * The state of hart and devices as JSON, which has neither 64-bit integers nor bytes: `{"u":"18446744073709551615"}`
 * stands for an integer of any size, `{"b":"AAECAw=="}` for bytes in base64. No state has fields of these names.
 */
import type { DeviceState } from '../machine/devices/device.ts'
import { SnapshotError } from './errors.ts'

/** Far more than any device nests, far less than a stack holds. */
const DEPTH_MAX = 32

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json }

export function encodeState(state: DeviceState): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(toJson(state)))
}

/** Throws SNAPSHOT_MALFORMED. Whether the state fits a machine is for that machine to say. */
export function decodeState(bytes: Uint8Array): DeviceState {
  let json: Json
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Json
  } catch (cause) {
    throw new SnapshotError('SNAPSHOT_MALFORMED', 'The state of the machine is no JSON.', { cause })
  }
  return fromJson(json, 0)
}

function toJson(state: DeviceState): Json {
  if (typeof state === 'bigint') return { u: String(state) }
  if (state instanceof Uint8Array) return { b: Buffer.from(state).toString('base64') }
  if (Array.isArray(state)) return state.map(toJson)
  if (typeof state !== 'object' || state === null) return state as Json
  return Object.fromEntries(
    Object.entries(state).map(([name, value]) => [name, toJson(value as DeviceState)]),
  )
}

function fromJson(json: Json, depth: number): DeviceState {
  if (depth > DEPTH_MAX) throw new SnapshotError('SNAPSHOT_MALFORMED', 'The state is nested too deeply.')
  if (Array.isArray(json)) return json.map((value) => fromJson(value as Json, depth + 1))
  if (typeof json !== 'object' || json === null) return json as DeviceState
  const entries = Object.entries(json) as [string, Json][]
  const [first] = entries
  if (entries.length === 1 && typeof first[1] === 'string') {
    if (first[0] === 'u' && /^-?[0-9]{1,20}$/.test(first[1])) return BigInt(first[1])
    if (first[0] === 'b') return new Uint8Array(Buffer.from(first[1], 'base64'))
  }
  return Object.fromEntries(entries.map(([name, value]) => [name, fromJson(value, depth + 1)]))
}
