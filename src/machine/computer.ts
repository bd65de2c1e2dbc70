/**
 * The machine: core, memory, devices and firmware put together.
 */

import { applyInput, type InputReceivers } from './apply-input.ts'
import { buildDeviceTree } from './boot/device-tree.ts'
import { loadElf, readElf } from './boot/elf.ts'
import { loadLinux } from './boot/linux.ts'
import { type SbiArguments, type SbiMachine, sbiCall } from './boot/sbi.ts'
import { Bus } from './bus.ts'
import { checkConfig } from './check-config.ts'
import type { BootConfig, MachineConfig } from './config.ts'
import { FAULT } from './cpu/access.ts'
import { CodeCache } from './cpu/code-cache.ts'
import { watchLine } from './cpu/code-pages.ts'
import { type Core, createCore } from './cpu/core.ts'
import { control, EXIT, FAST_TLB_BASE, PAGE_BYTES, RAM_START, TLB_ALL_BYTES, TLB_BASE } from './cpu/layout.ts'
import { type StartCompiler, SynchronousCompiler } from './cpu/region-compiler.ts'
import { STATE_BASE, STATE_BYTES } from './cpu/state.ts'
import { Clint } from './devices/clint/clint.ts'
import type { DeviceContext, DeviceState, InterruptLine, MmioDevice } from './devices/device.ts'
import { Generation } from './devices/generation/generation.ts'
import {
  GENERATION_INTERRUPT,
  RTC_INTERRUPT,
  UART_INTERRUPT,
  VIRTIO_INTERRUPT,
} from './devices/memory-map.ts'
import { Plic } from './devices/plic/plic.ts'
import { GoldfishRtc } from './devices/rtc/goldfish.ts'
import { Syscon } from './devices/syscon/syscon.ts'
import { Uart16550 } from './devices/uart16550/uart16550.ts'
import type { VirtioFunction } from './devices/virtio/function.ts'
import { VirtioMmio } from './devices/virtio/transport.ts'
import { VirtioBlk } from './devices/virtio-blk/virtio-blk.ts'
import { VirtioConsole } from './devices/virtio-console/virtio-console.ts'
import { VirtioNet } from './devices/virtio-net/virtio-net.ts'
import { VirtioRng } from './devices/virtio-rng/virtio-rng.ts'
import { digestAround, OutputDigest, RamDigest, stateDigest } from './digest.ts'
import { DirtyPages } from './dirty-pages.ts'
import { firmware } from './firmware.ts'
import { GuestPages } from './guest-pages.ts'
import { ISA, NEVER, resetHart, STCE, startInMachineMode, startInSupervisorMode } from './hart-start.ts'
import { HartState } from './hart-state.ts'
import type { MachineOutput } from './io.ts'
import {
  type MachineCapture,
  RUN_BUDGET_MAX,
  type SavableMachine,
  type SliceEnd,
  type SliceStart,
} from './machine.ts'
import { Ram } from './memory.ts'
import { nextSeed, PowerOnState } from './reset.ts'
import { restoreState, type StateParts, saveState } from './saved-state.ts'

export type Engine = 'interpreter' | 'regions'

export interface EngineOptions {
  /** Interpreter only, or with compiled regions (the default). The guest cannot tell. */
  readonly engine?: Engine
  /** Visits to an entry point before it is compiled. */
  readonly hotThreshold?: number
  /** Who compiles; without it the thread that runs the machine does, which then waits for it. The guest cannot tell. */
  readonly compiler?: StartCompiler
  /** Bytes of WebAssembly that the code cache keeps. */
  readonly codeBytesMax?: number
  /**
   * Gives what is booted once more when the guest resets itself, if the configuration does not hold it any more: the
   * very same bytes. Without either a reset ends the machine.
   */
  readonly reloadBoot?: () => BootConfig
}

/**
 * A region takes about a millisecond of some core before it runs (emitting, baseline code, optimising later), for which the
 * interpreter executes some 200,000 instructions. Measured on the boot of a Linux guest on busy cores, CPU time of the
 * running thread and of all: 1,000 visits 1.6 and 4.2 s, 2,000 1.7 and 3.8 s, 4,000 1.4 and 2.8 s, 8,000 1.4 and 2.5 s.
 * Much later than this loses where code is hot for long: decisions.md has a loaded Redis.
 */
const HOT_THRESHOLD = 4_000

const EXTERNAL_BIT = { M: 1n << 11n, S: 1n << 9n } as const

export class Computer implements SavableMachine {
  readonly pages: GuestPages
  readonly #config: Omit<MachineConfig, 'boot'>
  readonly #boot: () => BootConfig
  readonly #powerOn: PowerOnState
  readonly #servesSbi: boolean
  readonly #core: Core
  readonly #ram: Ram
  readonly #hart: HartState
  readonly #control: Int32Array
  readonly #bus: Bus
  readonly #uart: Uart16550
  readonly #console: VirtioConsole
  readonly #rng: VirtioRng
  readonly #rtc: GoldfishRtc
  readonly #generation: Generation
  readonly #syscon: Syscon
  readonly #nics: readonly VirtioNet[]
  readonly #disks: readonly VirtioBlk[]
  readonly #receivers: InputReceivers
  readonly #devices: readonly MmioDevice[]
  readonly #code: CodeCache | null
  readonly #sbi: SbiMachine
  readonly #outputDigest = new OutputDigest()
  readonly #ramDigest: RamDigest
  readonly #tohost: number | null
  #outputs: MachineOutput[] = []
  #running = false
  #halted = false
  /** The guest asked for a reset, which comes behind the instruction that asked. */
  #resetDue = false
  /** False until the state of a machine that starts from a snapshot is there. */
  #whole = true

  constructor(config: MachineConfig, options: EngineOptions = {}) {
    checkConfig(config)
    const { boot } = config
    const program = boot.kind === 'bare' ? readElf(boot.elf) : null
    const tohost = boot.kind === 'snapshot' ? boot.tohost : (program?.tohost ?? null)
    this.#tohost = tohost === null ? null : Number(tohost)
    this.#servesSbi = boot.kind === 'snapshot' ? boot.servesSbi : boot.kind === 'linux'
    const { boot: _images, ...rest } = config
    this.#config = rest
    this.#boot = options.reloadBoot ?? (() => config.boot)
    this.#core = createCore(
      {
        memoryBytes: config.memoryBytes,
        servesSbi: this.#servesSbi,
        hotThreshold: options.engine === 'interpreter' ? NEVER_HOT : (options.hotThreshold ?? HOT_THRESHOLD),
        watch: this.#tohost,
      },
      {
        deviceRead: (address, bytes) => this.#bus.read(address, bytes) ?? this.#noDevice(),
        deviceWrite: (address, bytes, value) => {
          if (!this.#bus.write(address, bytes, value)) this.#noDevice()
        },
        keepPage: (page) => this.pages.keep(page),
      },
    )
    const { memory, layout } = this.#core
    this.#control = new Int32Array(memory.buffer)
    this.#ram = new Ram(memory, layout, this.#core.exports.checksum, (page) => this.pages.keep(page))
    this.#hart = new HartState(memory)
    const dirty = new DirtyPages(this.#core)
    this.#ramDigest = new RamDigest(this.#core, dirty)
    this.pages = new GuestPages(this.#core, this.#ramDigest, dirty)
    this.#code = options.engine === 'interpreter' ? null : codeCache(this.#core, options)

    const plic = new Plic(1, (_hart, mode, level) => this.#setPending(EXTERNAL_BIT[mode], level))
    const contextFor = (line: InterruptLine): DeviceContext => ({
      memory: this.#ram,
      interrupt: line,
      guestClock: () => this.guestClock(),
      output: (output) => this.#output(output),
      endSlice: () => this.#exit(EXIT.output),
    })
    const context = (interrupt: number): DeviceContext => contextFor(plic.line(interrupt))
    this.#uart = new Uart16550(context(UART_INTERRUPT))
    this.#rtc = new GoldfishRtc(context(RTC_INTERRUPT), config.epochNs ?? 0n)
    this.#generation = new Generation(context(GENERATION_INTERRUPT))
    this.#syscon = new Syscon(contextFor({ set: () => undefined }))
    const clint = new Clint([this.#clintHart()], () => this.guestClock())
    this.#console = new VirtioConsole()
    this.#rng = new VirtioRng()
    this.#nics = config.nics.map((nic, i) => new VirtioNet(i, nic.mac))
    this.#disks = config.disks.map((disk, i) => new VirtioBlk({ disk: i, ...disk }))
    const functions: VirtioFunction[] = [...this.#nics, ...this.#disks, this.#rng, this.#console]
    const virtio = functions.map((f, slot) => new VirtioMmio(slot, context(VIRTIO_INTERRUPT + slot), f))
    this.#devices = [...virtio, this.#uart, plic, clint, this.#rtc, this.#generation, this.#syscon]
    this.#receivers = {
      ...{ nics: this.#nics, disks: this.#disks, uart: this.#uart, console: this.#console, rng: this.#rng },
      generation: this.#generation,
      reset: () => this.#pressReset(),
    }
    this.#bus = new Bus(this.#devices)
    this.#sbi = firmware({
      core: this.#core,
      hart: this.#hart,
      ram: this.#ram,
      setPending: (bit, level) => this.#setPending(bit, level),
      output: (output) => this.#output(output),
      flushConsole: () => this.#uart.flush(),
    })

    resetHart(this.#hart)
    const { pages } = this
    const parts = { core: this.#core, hart: this.#hart, ram: this.#ram, pages, devices: this.#devices }
    this.#powerOn = new PowerOnState(parts)
    this.#whole = boot.kind !== 'snapshot'
    this.#load(boot, config.rngSeed)
  }

  get retired(): bigint {
    return this.#hart.get('retiredLimit')
  }

  get halted(): boolean {
    return this.#halted
  }

  beginSlice(start: SliceStart): void {
    if (!this.#whole) throw new Error('the state of the snapshot that this machine starts from is missing')
    this.#hart.set('sliceClock', start.clock)
    this.#hart.set('sliceRetired', this.retired)
    this.#hart.set('sliceRate', BigInt(start.clockRate))
    this.#rtc.expire()
    for (const input of start.inputs) applyInput(input, this.#receivers)
  }

  run(budget: number): SliceEnd {
    if (!Number.isInteger(budget) || budget < 0 || budget > RUN_BUDGET_MAX) {
      throw new RangeError(`a run's budget is 0 to ${RUN_BUDGET_MAX}, not ${budget}`)
    }
    const { run } = this.#core.exports
    let left = budget
    let output = false
    this.#running = true
    while (left > 0 && !this.#halted && !output) {
      this.#control[control.exit / 4] = EXIT.none
      left = run(left)
      const exit = this.#control[control.exit / 4]
      if (exit === EXIT.idle) break
      if (exit === EXIT.output) output = true
      else if (exit === EXIT.ecall) this.#environmentCall()
      else if (exit === EXIT.watch) this.#watched()
      if (this.#resetDue) {
        this.#restart()
        output = true
      }
      this.#code?.maintain()
    }
    this.#running = false
    return {
      retired: budget - left,
      reason: this.#halted ? 'halted' : output ? 'output' : this.#isIdle() ? 'idle' : 'budget',
    }
  }

  takeOutputs(): MachineOutput[] {
    // Here and not in `run`: into how many run calls a slice was divided must not show in its outputs.
    this.#flushConsoles()
    const taken = this.#outputs
    this.#outputs = []
    return taken
  }

  guestClock(): bigint {
    // An instruction that touches a device has taken its own unit of the budget already.
    return this.#core.exports.clock(this.#running ? this.#control[control.budgetNow / 4] + 1 : 0)
  }

  timerDeadline(): bigint | null {
    const comparators = [this.#hart.get('mtimecmp'), this.#rtc.alarmDeadline() ?? NEVER]
    if ((this.#hart.get('menvcfg') & STCE) !== 0n) comparators.push(this.#hart.get('stimecmp'))
    const nearest = comparators.reduce((a, b) => (a < b ? a : b))
    return nearest === NEVER ? null : nearest
  }

  digest(): bigint {
    return stateDigest(this.#core, STATE_BASE, STATE_BASE + STATE_BYTES, this.#outputDigest.value)
  }

  fullDigest(): bigint {
    return this.#ramDigest.value(
      this.digest(),
      this.#devices.map((d) => d.save()),
    )
  }

  savedConfig(): MachineConfig {
    return this.#configWith(this.fullDigest())
  }

  capture(): MachineCapture {
    const state = this.saveState()
    const around = digestAround(
      this.#core,
      this.digest(),
      this.#devices.map((d) => d.save()),
    )
    const pages = this.pages.capture(this.pages.touched())
    const digest = (): bigint => {
      if (pages.left > 0) throw new Error('the digest is known when all pages were taken')
      return around(pages.digestSum)
    }
    return { config: this.#configWith(0n), state, pages, digest }
  }

  #configWith(digest: bigint): MachineConfig {
    const state = { servesSbi: this.#servesSbi, tohost: this.#tohost, digest }
    return {
      ...this.#config,
      boot: { kind: 'snapshot', ...state, retired: this.retired, clock: this.guestClock() },
    }
  }

  saveState(): DeviceState {
    if (this.#outputs.length > 0) throw new Error('a machine is saved when its outputs have been taken')
    return saveState(this.#parts(), this.#halted)
  }

  restoreState(state: DeviceState): void {
    this.#halted = restoreState(this.#parts(), state)
    this.#whole = true
  }

  pendingRequests(): MachineOutput[] {
    return [...this.#rng.pendingOutputs(), ...this.#disks.flatMap((disk) => disk.pendingOutputs())]
  }

  #parts(): StateParts {
    return { core: this.#core, devices: this.#devices, outputs: this.#outputDigest }
  }

  /** For tests and debuggers: state by name, outside of any slice. */
  readonly debug = {
    readPhysical: (address: number, length: number): Uint8Array => this.#ram.view(address, length),
    readRegister: (_hart: number, name: string): bigint => this.#register(name),
    writeRegister: (_hart: number, name: string, value: bigint): void => this.#setRegister(name, value),
    /** Compiled entry points now in the code cache. */
    compiledEntries: (): number => this.#code?.size ?? 0,
    /** A digest of the architectural TLBs, which a guest can observe although no register shows them. */
    translationDigest: (): bigint => this.#core.exports.hash(TLB_BASE, TLB_BASE + TLB_ALL_BYTES),
    /** Empties the fast TLBs, which nobody can tell. */
    dropFastTranslations: (): void => {
      new Uint8Array(this.#core.memory.buffer, FAST_TLB_BASE, TLB_ALL_BYTES).fill(0xff)
    },
  }

  #register(name: string): bigint {
    if (/^x\d+$/.test(name)) return this.#hart.x(Number(name.slice(1)))
    if (/^f\d+$/.test(name)) return this.#hart.f(Number(name.slice(1)))
    return this.#hart.get(name as Parameters<HartState['get']>[0])
  }

  #setRegister(name: string, value: bigint): void {
    if (/^x\d+$/.test(name)) this.#hart.setX(Number(name.slice(1)), value)
    else if (/^f\d+$/.test(name)) this.#hart.setF(Number(name.slice(1)), value)
    else this.#hart.set(name as Parameters<HartState['set']>[0], value)
  }

  /** The reset button, between two slices. */
  #pressReset(): void {
    if (this.#halted) return
    this.#output({ kind: 'power', action: 'reset', exitStatus: 0 })
    this.#restart()
  }

  #flushConsoles(): void {
    this.#uart.flush()
    this.#console.flush()
  }

  #output(output: MachineOutput): void {
    // What the guest said before it powered off shall come before that.
    if (output.kind === 'power') this.#flushConsoles()
    this.#outputs.push(output)
    this.#outputDigest.add(output)
    if (output.kind !== 'power') return
    if (output.action === 'reset') this.#resetDue = true
    else this.#halted = true
    this.#exit(EXIT.output)
  }

  #restart(): void {
    this.#resetDue = false
    const boot = this.#boot()
    if (boot.kind === 'snapshot') {
      // There is nothing to boot from: to the outside this is the end.
      this.#output({ kind: 'power', action: 'off', exitStatus: 0 })
      return
    }
    this.#powerOn.restore()
    this.#load(boot, nextSeed(this.#config.rngSeed, this.retired))
  }

  /** Puts into empty RAM what is booted, and the hart at its beginning. */
  #load(boot: BootConfig, rngSeed: Uint8Array): void {
    if (boot.kind === 'bare') {
      const program = readElf(boot.elf)
      loadElf(this.#ram, program)
      startInMachineMode(this.#hart, program.entry)
    } else if (boot.kind === 'linux') {
      const { memoryBytes } = this.#config
      const { kernel, initrd, append } = boot
      const placement = loadLinux(this.#ram, {
        kernel,
        initrd,
        memoryBytes,
        deviceTree: (placed) =>
          buildDeviceTree({
            harts: 1,
            isa: ISA,
            memoryBytes,
            devices: this.#devices.map((d) => d.fdtNode()),
            rootNodes: this.#syscon.powerNodes(),
            append,
            initrd: placed,
            stdoutPath: `/soc/${this.#uart.fdtNode().name}`,
            rngSeed,
          }),
      })
      startInSupervisorMode(this.#hart, placement.kernelAddress, placement.deviceTreeAddress)
    }
    this.#core.exports.setMode()
    if (this.#tohost !== null) watchStores(this.#core, this.#tohost)
  }

  /** Nothing answers at this address: the access fault that the core prepared is taken. */
  #noDevice(): bigint {
    this.#control[control.fault / 4] = FAULT.trap
    return 0n
  }

  #exit(reason: number): void {
    this.#control[control.exit / 4] = reason
    this.#control[control.attention / 4] = 1
  }

  #setPending(bit: bigint, level: boolean): void {
    const mip = this.#hart.get('mip')
    this.#hart.set('mip', level ? mip | bit : mip & ~bit)
    this.#control[control.attention / 4] = 1
  }

  #isIdle(): boolean {
    if (this.#hart.get('waiting') === 0n) return false
    return (this.#core.exports.pending(0) & this.#hart.get('mie')) === 0n
  }

  #watched(): void {
    const value = this.#tohost === null ? 0 : this.#ram.u64(this.#tohost)
    if (value !== 0) this.#output({ kind: 'power', action: 'off', exitStatus: Math.floor(value / 2) })
  }

  #environmentCall(): void {
    const args = [10, 11, 12, 13, 14, 15, 16, 17].map((i) => this.#hart.x(i)) as unknown as SbiArguments
    // The budget is settled at this exit, so the clock stands at the instruction after the call.
    this.#running = false
    const result = sbiCall(this.#sbi, 0, args)
    this.#running = true
    if (result === null) return
    if ('legacy' in result) {
      this.#hart.setX(10, result.legacy)
      return
    }
    this.#hart.setX(10, result.error)
    this.#hart.setX(11, result.value)
  }

  #clintHart(): ConstructorParameters<typeof Clint>[0][number] {
    const hart = this.#hart
    const setPending = (bit: bigint, level: boolean): void => this.#setPending(bit, level)
    const attention = (): void => {
      this.#control[control.attention / 4] = 1
    }
    return {
      get msip(): boolean {
        return (hart.get('mip') & 8n) !== 0n
      },
      set msip(level: boolean) {
        setPending(8n, level)
      },
      get mtimecmp(): bigint {
        return hart.get('mtimecmp')
      },
      set mtimecmp(value: bigint) {
        hart.set('mtimecmp', value)
        attention()
      },
    }
  }
}

function codeCache(core: Core, { compiler, codeBytesMax }: EngineOptions): CodeCache {
  const { layout, memory, floatFunctions } = core
  const setup = { layout, memory, floatFunctions }
  return new CodeCache(core, compiler?.(setup) ?? new SynchronousCompiler(setup), codeBytesMax)
}

/** A heat that is never reached: counters stop at it. */
const NEVER_HOT = 0x7fffffff

/** Has the core report stores to the line at a physical address, from the start. */
function watchStores(core: Core, address: number): void {
  const offset = address - RAM_START
  const lines = new BigUint64Array(core.memory.buffer, core.layout.codeLines, core.layout.pageCount)
  lines[Math.floor(offset / PAGE_BYTES)] |= watchLine(offset)
}
