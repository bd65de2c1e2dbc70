/**
 * The virtio-mmio transport, version 2 (virtio 1.2, section 4.2): registers, feature negotiation, the status field,
 * interrupts. What the device does is the VirtioFunction's matter.
 *
 * A driver that breaks the protocol never stops the machine: what it did is counted by code, and where its rings
 * can no longer be trusted the device sets DEVICE_NEEDS_RESET and touches no queue until it is reset (section
 * 2.1.2).
 */
import type { FdtNode } from '../../boot/fdt.ts'
import type { MachineOutput } from '../../io.ts'
import type { DeviceContext, DeviceState, GuestMemory, MmioDevice } from '../device.ts'
import { PLIC_PHANDLE, VIRTIO_BASE, VIRTIO_INTERRUPT, VIRTIO_SLOTS, VIRTIO_STRIDE } from '../memory-map.ts'
import { StateReader } from '../state.ts'
import { WarningCounts } from '../warnings.ts'
import type { VirtioFunction, VirtioPort } from './function.ts'
import {
  F_EVENT_IDX,
  F_INDIRECT_DESC,
  F_VERSION_1,
  INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_USED_BUFFER,
  MMIO_MAGIC,
  MMIO_VERSION,
  REGISTER,
  TRANSPORT_FEATURES,
  VENDOR_ID,
} from './protocol.ts'
import {
  isConfigurable,
  isLive,
  isNegotiating,
  isReachable,
  STATUS_DRIVER_OK,
  STATUS_NEEDS_RESET,
  statusEffect,
} from './status.ts'
import { type QueueArea, Virtqueue } from './virtqueue.ts'
import { VIRTIO_WARNINGS, type VirtioWarning } from './warning-codes.ts'

const VERSION = 1

export class VirtioMmio implements MmioDevice, VirtioPort {
  readonly name: string
  readonly base: number
  readonly size = VIRTIO_STRIDE
  readonly memory: GuestMemory
  readonly warnings = new WarningCounts<VirtioWarning>(VIRTIO_WARNINGS)
  readonly #slot: number
  readonly #context: DeviceContext
  readonly #function: VirtioFunction
  readonly #queues: readonly Virtqueue[]
  readonly #offered: bigint
  #status = 0
  #deviceFeaturesSel = 0
  #driverFeaturesSel = 0
  #accepted = 0n
  #queueSel = 0
  #interruptStatus = 0

  /**
   * `slot` from 0 to VIRTIO_SLOTS - 1 fixes address and interrupt; `context.interrupt` must be that source's line.
   */
  constructor(slot: number, context: DeviceContext, virtioFunction: VirtioFunction) {
    if (!Number.isInteger(slot) || slot < 0 || slot >= VIRTIO_SLOTS)
      throw new RangeError(`virtio slot ${slot} is not 0 to ${VIRTIO_SLOTS - 1}`)
    this.name = virtioFunction.name
    this.base = VIRTIO_BASE + slot * VIRTIO_STRIDE
    this.memory = context.memory
    this.#slot = slot
    this.#context = context
    this.#function = virtioFunction
    this.#offered = virtioFunction.features | TRANSPORT_FEATURES
    const fault = (code: VirtioWarning): void => this.fault(code)
    this.#queues = virtioFunction.queueSizesMax.map(
      (sizeMax, index) => new Virtqueue(index, sizeMax, context.memory, fault),
    )
    virtioFunction.connect(this)
  }

  get live(): boolean {
    return isLive(this.#status)
  }

  queue(index: number): Virtqueue {
    return this.#queues[index]
  }

  accepted(featureBit: number): boolean {
    return ((this.#accepted >> BigInt(featureBit)) & 1n) === 1n
  }

  signal(queue: Virtqueue): void {
    if (queue.takeSignal()) this.#interrupt(INTERRUPT_USED_BUFFER)
  }

  warn(code: VirtioWarning): void {
    this.warnings.count(code)
  }

  fault(code: VirtioWarning): void {
    this.warn(code)
    const running = (this.#status & STATUS_DRIVER_OK) !== 0
    this.#status |= STATUS_NEEDS_RESET
    // Section 2.1.2: a running driver is told by a configuration change notification.
    if (running) this.#interrupt(INTERRUPT_CONFIG_CHANGE)
  }

  output(output: MachineOutput): void {
    this.#context.output(output)
  }

  endSlice(): void {
    this.#context.endSlice()
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (offset >= REGISTER.config) return this.#readConfig(offset - REGISTER.config, width)
    if (width !== 4) {
      this.warn('register-width')
      return 0
    }
    switch (offset) {
      case REGISTER.magicValue:
        return MMIO_MAGIC
      case REGISTER.version:
        return MMIO_VERSION
      case REGISTER.deviceId:
        return this.#function.deviceId
      case REGISTER.vendorId:
        return VENDOR_ID
      case REGISTER.deviceFeatures:
        return this.#deviceFeaturesSel > 1
          ? 0
          : Number((this.#offered >> BigInt(32 * this.#deviceFeaturesSel)) & 0xffff_ffffn)
      case REGISTER.queueNumMax:
        return this.#selected?.sizeMax ?? 0
      case REGISTER.queueReady:
        return this.#selected?.ready === true ? 1 : 0
      case REGISTER.interruptStatus:
        return this.#interruptStatus
      case REGISTER.status:
        return this.#status
      case REGISTER.shmLenLow:
      case REGISTER.shmLenHigh:
      case REGISTER.shmBaseLow:
      case REGISTER.shmBaseHigh:
        // There are no shared memory regions: length and base read as all ones.
        return 0xffff_ffff
      default:
        // ConfigGeneration too: no configuration space here ever changes.
        return 0
    }
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    const word = value >>> 0
    if (offset >= REGISTER.config) return
    if (width !== 4) {
      this.warn('register-width')
      return
    }
    switch (offset) {
      case REGISTER.deviceFeaturesSel:
        this.#deviceFeaturesSel = word
        break
      case REGISTER.driverFeatures:
        this.#writeDriverFeatures(word)
        break
      case REGISTER.driverFeaturesSel:
        this.#driverFeaturesSel = word
        break
      case REGISTER.queueSel:
        this.#queueSel = word
        break
      case REGISTER.queueNum:
        this.#configurableQueue()?.setSize(word)
        break
      case REGISTER.queueReady:
        this.#writeQueueReady(word)
        break
      case REGISTER.queueNotify:
        this.#notify(word)
        break
      case REGISTER.interruptAck:
        this.#interruptStatus &= ~word
        this.#drive()
        break
      case REGISTER.status:
        this.#writeStatus(word)
        break
      case REGISTER.queueDescLow:
      case REGISTER.queueDescHigh:
        this.#writeArea('descriptors', offset, word)
        break
      case REGISTER.queueDriverLow:
      case REGISTER.queueDriverHigh:
        this.#writeArea('driver', offset, word)
        break
      case REGISTER.queueDeviceLow:
      case REGISTER.queueDeviceHigh:
        this.#writeArea('device', offset, word)
        break
    }
  }

  fdtNode(): FdtNode {
    return {
      name: `virtio_mmio@${this.base.toString(16)}`,
      properties: {
        compatible: 'virtio,mmio',
        reg: [BigInt(this.base), BigInt(this.size)],
        interrupts: VIRTIO_INTERRUPT + this.#slot,
        'interrupt-parent': PLIC_PHANDLE,
      },
    }
  }

  save(): DeviceState {
    return {
      version: VERSION,
      deviceId: this.#function.deviceId,
      status: this.#status,
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      accepted: this.#accepted,
      queueSel: this.#queueSel,
      interruptStatus: this.#interruptStatus,
      queues: this.#queues.map((queue) => queue.save()),
      warnings: this.warnings.save(),
      function: this.#function.save(),
    }
  }

  /** If it throws, the device holds a mixture and may only be restored again or thrown away. */
  restore(state: DeviceState): void {
    const reader = new StateReader(this.name, state, VERSION)
    if (reader.u32('deviceId') !== this.#function.deviceId) reader.fail('it is of another device type')
    const status = reader.u8('status')
    if (!isReachable(status)) reader.fail('no driver can reach its status')
    const accepted = reader.u64('accepted')
    if ((status & STATUS_DRIVER_OK) !== 0 && !this.#isAcceptable(accepted))
      reader.fail('it accepted features not offered')
    this.#status = status
    this.#accepted = accepted
    this.#deviceFeaturesSel = reader.u32('deviceFeaturesSel')
    this.#driverFeaturesSel = reader.u32('driverFeaturesSel')
    this.#queueSel = reader.u32('queueSel')
    this.#interruptStatus = reader.integer(
      'interruptStatus',
      0,
      INTERRUPT_USED_BUFFER | INTERRUPT_CONFIG_CHANGE,
    )
    const queues = reader.list('queues', this.#queues.length, this.#queues.length)
    for (const [index, queue] of this.#queues.entries())
      queue.restore(new StateReader(`${this.name}.queues[${index}]`, queues[index], Virtqueue.stateVersion))
    this.warnings.restore(this.name, reader.value('warnings'))
    this.#function.restore(reader.value('function'))
  }

  get #selected(): Virtqueue | undefined {
    return this.#queues[this.#queueSel]
  }

  #readConfig(offset: number, width: 1 | 2 | 4): number {
    const config = this.#function.config
    let value = 0
    for (let byte = width - 1; byte >= 0; byte--) value = value * 256 + (config[offset + byte] ?? 0)
    return value
  }

  #writeDriverFeatures(word: number): void {
    if (!isNegotiating(this.#status)) {
      this.warn('features-locked')
      return
    }
    if (this.#driverFeaturesSel > 1) return
    const shift = BigInt(32 * this.#driverFeaturesSel)
    this.#accepted = (this.#accepted & ~(0xffff_ffffn << shift)) | (BigInt(word) << shift)
  }

  #isAcceptable(accepted: bigint): boolean {
    return (accepted & ~this.#offered) === 0n && ((accepted >> BigInt(F_VERSION_1)) & 1n) === 1n
  }

  /** The selected queue, if its registers may be written now. */
  #configurableQueue(): Virtqueue | null {
    const queue = this.#selected
    if (queue === undefined) {
      this.warn('queue-missing')
      return null
    }
    if (queue.ready || !isConfigurable(this.#status)) {
      this.warn('queue-locked')
      return null
    }
    return queue
  }

  #writeArea(area: QueueArea, offset: number, word: number): void {
    this.#configurableQueue()?.setAreaHalf(area, (offset & 4) !== 0, word)
  }

  #writeQueueReady(word: number): void {
    if (word === 0) {
      this.#selected?.disable()
      return
    }
    const queue = this.#configurableQueue()
    if (queue === null) return
    const features = { indirect: this.accepted(F_INDIRECT_DESC), eventIndex: this.accepted(F_EVENT_IDX) }
    if (!queue.enable(features)) this.fault('queue-layout')
  }

  #notify(index: number): void {
    const queue = this.#queues[index]
    if (queue === undefined) this.warn('queue-missing')
    else if (!this.live || !queue.ready) this.warn('notify-not-live')
    else this.#function.notify(index)
  }

  #writeStatus(word: number): void {
    const effect = statusEffect(this.#status, word)
    switch (effect) {
      case null:
        this.warn('status-transition')
        return
      case 'reset':
        this.#reset()
        return
      case 'negotiate':
        if (!this.#isAcceptable(this.#accepted)) {
          this.warn('features-refused')
          return
        }
        break
      case 'none':
      case 'activate':
      case 'fail':
        break
    }
    this.#status = (word & ~STATUS_NEEDS_RESET) | (this.#status & STATUS_NEEDS_RESET)
  }

  #reset(): void {
    this.#status = 0
    this.#deviceFeaturesSel = 0
    this.#driverFeaturesSel = 0
    this.#accepted = 0n
    this.#queueSel = 0
    this.#interruptStatus = 0
    for (const queue of this.#queues) queue.reset()
    this.#function.reset()
    this.#drive()
  }

  #interrupt(cause: number): void {
    this.#interruptStatus |= cause
    this.#drive()
  }

  #drive(): void {
    this.#context.interrupt.set(this.#interruptStatus !== 0)
  }
}
