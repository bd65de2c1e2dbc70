/**
 * Hosts as network namespaces of one Linux machine: each has an address of its own on one Ethernet switch, and can be cut off,
 * slowed, stopped, and have its power cut as a machine can. Needs iproute2 and util-linux, and either root or a kernel that lets
 * anybody make user namespaces; UNDERSTUDY_NAMESPACES=user has root make them as well.
 *
 * Neighbours are entered by hand, not found by ARP: a cut in one direction would otherwise become one in both when ARP's
 * questions or answers are lost, and a network of several segments has routers that answer for hosts that are gone.
 *
 * A frame is cut by nftables on the switch. Where there is no nftables, the sender is told a neighbour's address that nobody
 * has: the frame leaves, and no one takes it. In both cases sender and receiver notice nothing, and connections stay as they
 * are until they time out. Taking an interface down would be noticed, and cuts both directions.
 */
import { enter, type Finished, finish, must, type Privilege, spawnIn } from './namespace-entry.ts'
import { NamespaceHolder } from './namespace-holder.ts'
import { NamespaceHost, NETWORK_PREFIX } from './namespace-host.ts'

const NETMASK_BITS = 24
/** Of addresses nobody has; locally administered, as all here. */
const NOBODY_MAC = '02:4d:ff:ff:ff:ff'
const ROUTER_ADDRESS = `${NETWORK_PREFIX}.254`
const BRIDGE = 'switch'

/** What a slow line may hold back: a fifth of a second's worth at most, then it drops, as routers do. */
const QUEUE_MS_MAX = 200
const FRAME_BYTES = 1514
/** A token bucket must hold one frame whole. */
const BURST_BYTES = 1600

/** How this kernel lets a network be harmed. */
export interface Harms {
  readonly cut: 'nftables' | 'neighbours'
  /** `rate`: no netem; a line so slow that a full frame takes the delay. What is small comes sooner, what queues later. */
  readonly delay: 'netem' | 'rate' | 'none'
  readonly loss: 'nftables' | 'netem' | 'none'
}

export interface Impairment {
  /** Each way, of every frame (or as `Harms` says). */
  readonly delayMs: number
  /** Each way; 0.01 is one frame of a hundred. */
  readonly lossShare: number
}

export interface NetworkOptions {
  readonly privilege?: Privilege
  readonly cut?: 'neighbours'
}

/** Why there can be no network of namespaces here; null when there can. */
export async function namespacesUnavailable(): Promise<string | null> {
  if (process.platform !== 'linux') return 'network namespaces need Linux'
  try {
    await (await NamespaceNetwork.open()).close()
    return null
  } catch (error) {
    return `network namespaces cannot be made here: ${error instanceof Error ? error.message : error}`
  }
}

export class NamespaceNetwork {
  readonly harms: Harms
  readonly #switch: NamespaceHolder
  readonly #privilege: Privilege
  readonly #hosts = new Map<string, NamespaceHost>()
  /** "from>to", by names of hosts. */
  readonly #cuts = new Set<string>()
  readonly #impairments = new Map<string, Impairment>()
  #applying: Promise<void> = Promise.resolve()

  private constructor(holder: NamespaceHolder, privilege: Privilege, harms: Harms) {
    this.#switch = holder
    this.#privilege = privilege
    this.harms = harms
  }

  /** Throws an Error that says what is missing. `cut` is for tests of the second choice. */
  static async open({
    privilege = process.getuid?.() === 0 && process.env.UNDERSTUDY_NAMESPACES !== 'user' ? 'root' : 'user',
    cut,
  }: NetworkOptions = {}): Promise<NamespaceNetwork> {
    const asRoot = privilege === 'root' ? [] : ['--user', '--map-root-user']
    const holder = await NamespaceHolder.start(['unshare', ...asRoot, '--net'])
    try {
      const inSwitch = (program: string, args: readonly string[], input = '') =>
        finish(spawnIn(holder, privilege, program, args, {}), input)
      const works = async (program: string, ...args: string[]) => (await inSwitch(program, args)).status === 0
      await must(
        inSwitch(
          'ip',
          ['-batch', '-'],
          `link add ${BRIDGE} type bridge\nlink set ${BRIDGE} up\nlink set lo up\n`,
        ),
      )
      const nftables = (await inSwitch('nft', ['-f', '-'], tableOf([], []))).status === 0
      const netem = await works('tc', 'qdisc', 'replace', 'dev', 'lo', 'root', 'netem', 'delay', '1ms')
      const rate = !netem && (await works('tc', 'qdisc', 'replace', 'dev', 'lo', 'root', ...slowLine(1)))
      return new NamespaceNetwork(holder, privilege, {
        cut: nftables && cut !== 'neighbours' ? 'nftables' : 'neighbours',
        delay: netem ? 'netem' : rate ? 'rate' : 'none',
        loss: nftables ? 'nftables' : netem ? 'netem' : 'none',
      })
    } catch (error) {
      await holder.end()
      throw error
    }
  }

  /** What of an impairment this kernel does not do, in words; null if it does everything. */
  get shortcomings(): string | null {
    const { delay, loss } = this.harms
    const words = []
    if (delay === 'rate') words.push('no sch_netem: delay is that of a slow line')
    if (delay === 'none') words.push('neither sch_netem nor sch_tbf: no delay')
    if (loss === 'none') words.push('neither nftables nor sch_netem: no loss')
    return words.length === 0 ? null : words.join('; ')
  }

  host(name: string): NamespaceHost {
    const host = this.#hosts.get(name)
    if (host === undefined) throw new Error(`no host ${name}`)
    return host
  }

  /** Plugs in a host that is on. `number` is the last part of its address, 1 to 253. */
  async addHost(name: string, number: number): Promise<NamespaceHost> {
    const host = new NamespaceHost(name, number, {
      start: () => NamespaceHolder.start([...this.#enterUser(), 'unshare', '--net']),
      enter: (holder, program, args, options) => spawnIn(holder, this.#privilege, program, args, options),
      plug: (holder) => this.#plug(host, holder),
      silence: () => must(this.#ip(this.#switch, `link set ${host.port} down\n`)),
      unplug: () => must(this.#ip(this.#switch, `link delete ${host.port}\n`)),
    })
    this.#hosts.set(name, host)
    await host.boot()
    return host
  }

  /** Frames of `from` do not reach `to` any more; those of `to` still reach `from`. */
  async cut(from: string, to: string): Promise<void> {
    this.#cuts.add(`${this.host(from).name}>${this.host(to).name}`)
    await this.#applyCuts([from])
  }

  async cutBoth(a: string, b: string): Promise<void> {
    this.#cuts.add(`${this.host(a).name}>${this.host(b).name}`).add(`${b}>${a}`)
    await this.#applyCuts([a, b])
  }

  /** Frames of `from` reach `to` again. */
  async heal(from: string, to: string): Promise<void> {
    this.#cuts.delete(`${from}>${to}`)
    await this.#applyCuts([from])
  }

  async healBoth(a: string, b: string): Promise<void> {
    this.#cuts.delete(`${a}>${b}`)
    this.#cuts.delete(`${b}>${a}`)
    await this.#applyCuts([a, b])
  }

  /** The line of a host is slow and loses frames, both ways; null: it is as it should be. */
  async impair(name: string, impairment: Impairment | null): Promise<void> {
    const host = this.host(name)
    if (impairment === null) this.#impairments.delete(name)
    else this.#impairments.set(name, impairment)
    if (host.holder !== null) await this.#applyImpairment(host, host.holder)
    if (this.harms.loss === 'nftables') await this.#applyCuts([])
  }

  /** The network as new; hosts stay as they are. */
  async healAll(): Promise<void> {
    const senders = [...this.#cuts].map((cut) => cut.split('>')[0])
    this.#cuts.clear()
    await this.#applyCuts(senders)
    for (const name of [...this.#impairments.keys()]) await this.impair(name, null)
  }

  /** Kills everything in it. Safe to call twice. */
  async close(): Promise<void> {
    await Promise.all([...this.#hosts.values()].map((host) => host.powerOff()))
    this.#hosts.clear()
    await this.#switch.end()
  }

  #enterUser(): string[] {
    return this.#privilege === 'root' ? [] : enter(this.#switch, ['--user', '--preserve-credentials'])
  }

  #ip(holder: NamespaceHolder, batch: string): Promise<Finished> {
    return finish(spawnIn(holder, this.#privilege, 'ip', ['-batch', '-'], {}), batch)
  }

  async #plug(host: NamespaceHost, holder: NamespaceHolder): Promise<void> {
    await must(
      this.#ip(
        this.#switch,
        [
          `link add ${host.port} type veth peer name eth0 address ${host.mac} netns ${holder.pid}`,
          `link set ${host.port} master ${BRIDGE} up`,
          '',
        ].join('\n'),
      ),
    )
    const others = [...this.#hosts.values()].filter((other) => other !== host)
    await must(
      this.#ip(
        holder,
        [
          'link set lo up',
          'link set eth0 addrgenmode none',
          `address add ${host.address}/${NETMASK_BITS} dev eth0`,
          'link set eth0 up',
          // Programs that ask for the way out (passt does) are to find one; there is none.
          `neighbour replace ${ROUTER_ADDRESS} lladdr ${NOBODY_MAC} dev eth0 nud permanent`,
          `route add default via ${ROUTER_ADDRESS}`,
          ...others.map((other) => this.#neighbour(host, other)),
          '',
        ].join('\n'),
      ),
    )
    for (const other of others) {
      if (other.holder !== null) await must(this.#ip(other.holder, `${this.#neighbour(other, host)}\n`))
    }
    await this.#applyImpairment(host, holder)
  }

  #neighbour(of: NamespaceHost, other: NamespaceHost): string {
    const isCut = this.harms.cut === 'neighbours' && this.#cuts.has(`${of.name}>${other.name}`)
    return `neighbour replace ${other.address} lladdr ${isCut ? NOBODY_MAC : other.mac} dev eth0 nud permanent`
  }

  /** One after the other, each with what is cut when its turn comes: or the one that began first could be done last. */
  #applyCuts(senders: readonly string[]): Promise<void> {
    const applied = this.#applying.then(() => this.#applyCutsNow(senders))
    this.#applying = applied.catch(() => {})
    return applied
  }

  async #applyCutsNow(senders: readonly string[]): Promise<void> {
    if (this.harms.cut === 'nftables') {
      const cuts = [...this.#cuts].map((cut) => cut.split('>').map((name) => this.host(name).mac))
      const losses = [...this.#impairments].map(
        ([name, { lossShare }]) => [this.host(name).mac, lossShare] as const,
      )
      await must(
        finish(spawnIn(this.#switch, this.#privilege, 'nft', ['-f', '-'], {}), tableOf(cuts, losses)),
      )
      return
    }
    for (const name of new Set(senders)) {
      const host = this.host(name)
      const others = [...this.#hosts.values()].filter((other) => other !== host)
      if (host.holder === null || others.length === 0) continue
      await must(this.#ip(host.holder, `${others.map((other) => this.#neighbour(host, other)).join('\n')}\n`))
    }
  }

  /** Both ends of the host's line, for a queue delays what leaves only. */
  async #applyImpairment(host: NamespaceHost, inside: NamespaceHolder): Promise<void> {
    const { delay, loss } = this.harms
    const { delayMs, lossShare } = this.#impairments.get(host.name) ?? { delayMs: 0, lossShare: 0 }
    const lossHere = loss === 'netem' ? lossShare : 0
    const discipline =
      delay === 'netem'
        ? ['netem', 'delay', `${delayMs}ms`, 'loss', `${lossHere * 100}%`]
        : delay === 'rate' && delayMs > 0
          ? slowLine(delayMs)
          : null
    const isImpaired = discipline !== null && (delayMs > 0 || lossHere > 0)
    for (const [holder, device] of [
      [this.#switch, host.port],
      [inside, 'eth0'],
    ] as const) {
      const change = isImpaired
        ? ['replace', 'dev', device, 'root', ...discipline]
        : ['delete', 'dev', device, 'root']
      const finished = await finish(spawnIn(holder, this.#privilege, 'tc', ['qdisc', ...change], {}), '')
      // There may be nothing to delete.
      if (isImpaired && finished.status !== 0) throw new Error(`tc: ${finished.stderr}`)
    }
  }
}

/** The whole table anew, at once: rules are never seen half changed. */
function tableOf(
  cuts: readonly string[][],
  losses: readonly (readonly [mac: string, share: number])[],
): string {
  const rules = [
    ...cuts.map(([from, to]) => `ether saddr ${from} ether daddr ${to} drop`),
    ...losses.flatMap(([mac, share]) =>
      ['saddr', 'daddr'].map(
        (way) => `ether ${way} ${mac} numgen random mod 10000 < ${Math.round(share * 10_000)} drop`,
      ),
    ),
  ]
  return [
    'table bridge switch',
    'delete table bridge switch',
    'table bridge switch {',
    '  chain forward {',
    '    type filter hook forward priority 0;',
    ...rules.map((rule) => `    ${rule}`),
    '  }',
    '}',
    '',
  ].join('\n')
}

function slowLine(delayMs: number): string[] {
  const bitsPerSecond = Math.ceil((FRAME_BYTES * 8 * 1000) / delayMs)
  const queueBytes = Math.max(2 * FRAME_BYTES, Math.ceil((bitsPerSecond / 8) * (QUEUE_MS_MAX / 1000)))
  return ['tbf', 'rate', `${bitsPerSecond}bit`, 'burst', String(BURST_BYTES), 'limit', String(queueBytes)]
}
