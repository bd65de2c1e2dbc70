/**
 * `tiny`: Debian's kernel, busybox and redis-server, all in the initial file system. Small enough to boot in
 * seconds on an emulated CPU, and with enough state (a Redis, open connections) to show that a takeover loses
 * nothing.
 */
import { readFileSync } from 'node:fs'
import type { ImageRecipe, RecipeFile } from '../recipe.ts'

/**
 * Initialisation that this guest has no use for, with what each costs in instructions at boot (QEMU with
 * `-icount shift=0`, kernel 6.12.107). The kernel ignores names that it does not know.
 */
const INITCALLS_LEFT_OUT = [
  'jent_mod_init', // 230e6: measures the timer's jitter as a source of entropy; the device tree has rng-seed
  'trace_eval_init', // 72e6: names of enumerations in the formats of trace events
  'load_system_certificate_list', // 27e6: keys for module signatures; see modules.ts
  'check_unaligned_access_all_cpus', // 24e6: measures the speed of misaligned access, for hwprobe(2)
  'bpf_tcp_ca_kfunc_init', // 15e6: congestion control written in BPF
  'init_encrypted', // 9e6: the "encrypted" type of keys
  'bpf_dummy_struct_ops_init', // 5e6: for the kernel's own tests
]

const APPEND = [
  'console=ttyS0',
  'earlycon=sbi',
  'quiet',
  'cryptomgr.notests',
  // A host that was paused, or a takeover, is no lock-up of the guest.
  'nowatchdog',
  // Zeroing pages that are about to be overwritten: 10e6 at boot, and a share of every packet afterwards.
  'init_on_alloc=0',
  `initcall_blacklist=${INITCALLS_LEFT_OUT.join(',')}`,
]

/**
 * Nothing is kept on disk: what this guest must not lose is its memory. `hz 1` wakes an idle Redis once a second
 * instead of ten times, which takes the idle guest's timer interrupts from 33 a second to 11; the rate rises by
 * itself with the number of clients.
 */
const REDIS_CONFIGURATION = `bind 0.0.0.0
protected-mode no
save ""
appendonly no
dir /var/lib/redis
logfile /var/log/redis.log
hz 1
`

export const tiny: ImageRecipe = {
  name: 'tiny',
  suite: 'trixie',
  architecture: 'riscv64',
  kernelPackage: 'linux-image-riscv64',
  packages: ['busybox-static', 'redis-server', 'redis-tools'],
  withoutPackages: [
    'adduser',
    'debconf',
    'init-system-helpers',
    'initramfs-tools',
    'kmod',
    'libpam0g',
    'openssl-provider-legacy',
    'passwd',
  ],
  packageFiles: ['usr/bin/busybox', 'usr/bin/redis-server', 'usr/bin/redis-cli'],
  modules: ['virtio_mmio', 'virtio_net', 'virtio_blk', 'virtio-rng'],
  files: {
    bin: symlink('usr/bin'),
    sbin: symlink('usr/bin'),
    lib: symlink('usr/lib'),
    'usr/sbin': symlink('bin'),
    // Busybox's shell finds the other applets by itself once /proc is mounted.
    'usr/bin/sh': symlink('busybox'),
    'usr/bin/mount': symlink('busybox'),
    'usr/bin/init': symlink('busybox'),
    'usr/bin/login': symlink('busybox'),
    'usr/bin/poweroff': symlink('busybox'),
    'usr/bin/reboot': symlink('busybox'),
    dev: directory(0o755),
    proc: directory(0o555),
    sys: directory(0o555),
    run: directory(0o755),
    tmp: directory(0o1777),
    mnt: directory(0o755),
    root: directory(0o700),
    'var/lib/redis': directory(0o755),
    'var/log': directory(0o755),
    init: script('init'),
    'etc/inittab': text(
      'console::respawn:/bin/busybox getty -L 0 console vt100\n::ctrlaltdel:/usr/bin/poweroff\n',
    ),
    'etc/passwd': text('root::0:0:root:/root:/bin/sh\n'),
    'etc/group': text('root:x:0:\n'),
    'etc/issue': text('Understudy \\n\n'),
    'etc/profile': text('export PATH=/usr/bin\n'),
    'etc/udhcpc.script': script('udhcpc.script'),
    'etc/redis/redis.conf': text(REDIS_CONFIGURATION),
    'srv/www/index.html': text(source('index.html')),
    'srv/www/cgi-bin/status': script('status.cgi'),
  },
  append: APPEND.join(' '),
  memoryMiB: 512,
  savable: true,
}

function source(name: string): string {
  return readFileSync(new URL(`./tiny/${name}`, import.meta.url), 'utf8')
}

function script(name: string): RecipeFile {
  return { kind: 'text', text: source(name), permissions: 0o755 }
}

function text(content: string): RecipeFile {
  return { kind: 'text', text: content, permissions: 0o644 }
}

function symlink(target: string): RecipeFile {
  return { kind: 'symlink', target }
}

function directory(permissions: number): RecipeFile {
  return { kind: 'directory', permissions }
}
