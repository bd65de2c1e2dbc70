/** Everything of a machine but its RAM and its configuration, as plain data. */
import type { Core } from './cpu/core.ts'
import { restoreCore, saveCore } from './cpu/saved-core.ts'
import type { DeviceState, MmioDevice } from './devices/device.ts'
import { StateReader } from './devices/state.ts'
import type { OutputDigest } from './digest.ts'

export interface StateParts {
  readonly core: Core
  readonly devices: readonly MmioDevice[]
  readonly outputs: OutputDigest
}

const VERSION = 1

export function saveState({ core, devices, outputs }: StateParts, halted: boolean): DeviceState {
  return {
    version: VERSION,
    hart: saveCore(core),
    devices: devices.map((device) => ({ version: VERSION, name: device.name, state: device.save() })),
    outputs: outputs.save(),
    halted,
  }
}

/** Takes back what `saveState` returned; RAM must be filled already. Says whether the machine is powered off. */
export function restoreState({ core, devices, outputs }: StateParts, state: DeviceState): boolean {
  const reader = new StateReader('machine', state, VERSION)
  const saved = reader.list('devices', devices.length, devices.length)
  devices.forEach((device, index) => {
    const fields = new StateReader(device.name, saved[index], VERSION)
    if (fields.value('name') !== device.name) fields.fail('it is of another device')
    device.restore(fields.value('state'))
  })
  outputs.restore(reader.value('outputs'))
  // After the devices: the interrupt controller drives the hart's pending bits when it is restored.
  restoreCore(core, reader.value('hart'))
  return reader.boolean('halted')
}
