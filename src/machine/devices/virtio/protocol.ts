/** The numbers of the virtio 1.2 specification that more than one file here needs. */

/** Section 4.2.2: "virt" in little-endian, and the version of a non-legacy device. */
export const MMIO_MAGIC = 0x7472_6976
export const MMIO_VERSION = 2
/** Names the maker of the device: "UDSY" in little-endian. No driver depends on it. */
export const VENDOR_ID = 0x5953_4455

/** Section 4.2.2, register offsets. */
export const REGISTER = {
  magicValue: 0x000,
  version: 0x004,
  deviceId: 0x008,
  vendorId: 0x00c,
  deviceFeatures: 0x010,
  deviceFeaturesSel: 0x014,
  driverFeatures: 0x020,
  driverFeaturesSel: 0x024,
  queueSel: 0x030,
  queueNumMax: 0x034,
  queueNum: 0x038,
  queueReady: 0x044,
  queueNotify: 0x050,
  interruptStatus: 0x060,
  interruptAck: 0x064,
  status: 0x070,
  queueDescLow: 0x080,
  queueDescHigh: 0x084,
  queueDriverLow: 0x090,
  queueDriverHigh: 0x094,
  queueDeviceLow: 0x0a0,
  queueDeviceHigh: 0x0a4,
  shmLenLow: 0x0b0,
  shmLenHigh: 0x0b4,
  shmBaseLow: 0x0b8,
  shmBaseHigh: 0x0bc,
  configGeneration: 0x0fc,
  config: 0x100,
} as const

/** Section 4.2.2, InterruptStatus. */
export const INTERRUPT_USED_BUFFER = 1
export const INTERRUPT_CONFIG_CHANGE = 2

/** Section 6, reserved feature bits. */
export const F_INDIRECT_DESC = 28
export const F_EVENT_IDX = 29
export const F_VERSION_1 = 32

/** What the transport offers for every device type. */
export const TRANSPORT_FEATURES =
  (1n << BigInt(F_INDIRECT_DESC)) | (1n << BigInt(F_EVENT_IDX)) | (1n << BigInt(F_VERSION_1))

/** Section 5, device types. */
export const DEVICE_NET = 1
export const DEVICE_BLOCK = 2
export const DEVICE_CONSOLE = 3
export const DEVICE_ENTROPY = 4

export const SECTOR_BYTES = 512
