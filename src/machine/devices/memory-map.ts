/**
 * Where everything lies in the physical address space, and which interrupt source it drives: the map of QEMU's
 * `virt` machine, so that firmware, bare-metal programs and kernels made for it find what they expect.
 */
export const SYSCON_BASE = 0x10_0000
export const RTC_BASE = 0x10_1000
export const RTC_INTERRUPT = 11
/** Not on `virt`: pages that are free there. */
export const GENERATION_BASE = 0x10_2000
export const GENERATION_INTERRUPT = 12
export const CLINT_BASE = 0x200_0000
export const PLIC_BASE = 0xc00_0000
export const UART_BASE = 0x1000_0000
export const UART_INTERRUPT = 10
export const RAM_BASE = 0x8000_0000

/** Eight virtio slots; slot n lies at VIRTIO_BASE + n * VIRTIO_STRIDE and drives source VIRTIO_INTERRUPT + n. */
export const VIRTIO_BASE = 0x1000_1000
export const VIRTIO_STRIDE = 0x1000
export const VIRTIO_INTERRUPT = 1
export const VIRTIO_SLOTS = 8

/** Ticks of guest time in a second: the time base of `virt`, and 100 ns a tick. */
export const TIMEBASE_HZ = 10_000_000
export const NANOSECONDS_PER_TICK = 100n

/** Phandles are fixed so that every device can write its own node without asking the tree. */
export const PLIC_PHANDLE = 1
export const SYSCON_PHANDLE = 2
/** Hart h's local interrupt controller has phandle HART_PHANDLE_BASE + h. */
export const HART_PHANDLE_BASE = 16
