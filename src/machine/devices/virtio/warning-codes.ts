/** Everything a driver or the outside can do wrong to a virtio device, by stable code. */
export const VIRTIO_WARNINGS = [
  // Registers
  'register-width',
  'status-transition',
  'features-refused',
  'features-locked',
  'queue-missing',
  'queue-locked',
  'queue-layout',
  'notify-not-live',
  // Queues and chains: each of these needs a reset
  'avail-index-jump',
  'descriptor-index',
  'chain-too-long',
  'chain-too-large',
  'chain-order',
  'chain-outside-memory',
  'indirect-not-negotiated',
  'indirect-nested',
  'indirect-with-next',
  'indirect-length',
  // Requests of a device type: these need one too
  'request-malformed',
  // Losses that need no reset
  'tx-frame-length',
  'tx-frame-offload',
  'rx-dropped-full',
  'rx-dropped-length',
  'rx-dropped-not-live',
  'rx-dropped-buffer-small',
  'completion-unknown',
  'completion-length',
  'entropy-unasked',
] as const

export type VirtioWarning = (typeof VIRTIO_WARNINGS)[number]
