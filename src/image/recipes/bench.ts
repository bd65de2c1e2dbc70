/**
 * `bench`: Debian's kernel and what the benchmarks run, all in the initial file system: compressors, openssl,
 * interpreters, a database, Redis and a C compiler. Its /init does no more than mount file systems; the work comes in
 * a second archive that the benchmark program puts behind this one, so a changed workload needs no new image.
 */
import { readFileSync } from 'node:fs'
import type { ImageRecipe } from '../recipe.ts'
import { tiny } from './tiny.ts'

const GCC = 'usr/lib/gcc/riscv64-linux-gnu/14'
const GCC_PROGRAMS = 'usr/libexec/gcc/riscv64-linux-gnu/14'
const LIBRARIES = 'usr/lib/riscv64-linux-gnu'

export const bench: ImageRecipe = {
  ...tiny,
  name: 'bench',
  packages: [
    'busybox-static',
    'gcc-14-riscv64-linux-gnu',
    'gzip',
    'libc6-dev',
    'libpython3.13-minimal',
    'lua5.4',
    'mawk',
    'openssl',
    'perl-base',
    'python3.13-minimal',
    'redis-server',
    'redis-tools',
    'sqlite3',
    'xz-utils',
    'zstd',
  ],
  withoutPackages: [
    ...tiny.withoutPackages,
    'dpkg',
    'libasan8',
    'libcc1-0',
    'libcrypt-dev',
    'libgomp1',
    'libitm1',
    'liblsan0',
    'libtsan2',
    'libubsan1',
    'rpcsvc-proto',
  ],
  packageFiles: [
    ...['busybox', 'gzip', 'lua5.4', 'mawk', 'openssl', 'perl', 'python3.13', 'redis-benchmark', 'redis-cli'],
    ...['redis-server', 'sqlite3', 'xz', 'zstd'],
  ]
    .map((program) => `usr/bin/${program}`)
    .concat(
      ...['usr/lib/python3.13/', `${LIBRARIES}/perl-base/`],
      // The compiler, and what it needs to make a dynamically linked program in C.
      ...['gcc-14', 'as', 'ld', 'ld.bfd'].map((program) => `usr/bin/riscv64-linux-gnu-${program}`),
      ...['cc1', 'collect2', 'liblto_plugin.so'].map((program) => `${GCC_PROGRAMS}/${program}`),
      ...['crtbeginS.o', 'crtendS.o', 'libgcc.a', 'libgcc_s.so', 'include/'].map((file) => `${GCC}/${file}`),
      ...['Scrt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libc_nonshared.a', 'libm.so'].map(
        (file) => `${LIBRARIES}/${file}`,
      ),
      'usr/include/',
    ),
  modules: [],
  files: {
    bin: { kind: 'symlink', target: 'usr/bin' },
    sbin: { kind: 'symlink', target: 'usr/bin' },
    lib: { kind: 'symlink', target: 'usr/lib' },
    'usr/sbin': { kind: 'symlink', target: 'bin' },
    'usr/bin/sh': { kind: 'symlink', target: 'busybox' },
    'usr/bin/mount': { kind: 'symlink', target: 'busybox' },
    'usr/bin/awk': { kind: 'symlink', target: 'mawk' },
    'usr/bin/as': { kind: 'symlink', target: 'riscv64-linux-gnu-as' },
    'usr/bin/ld': { kind: 'symlink', target: 'riscv64-linux-gnu-ld' },
    'usr/bin/gcc': { kind: 'symlink', target: 'riscv64-linux-gnu-gcc-14' },
    dev: { kind: 'directory', permissions: 0o755 },
    proc: { kind: 'directory', permissions: 0o555 },
    sys: { kind: 'directory', permissions: 0o555 },
    run: { kind: 'directory', permissions: 0o755 },
    tmp: { kind: 'directory', permissions: 0o1777 },
    root: { kind: 'directory', permissions: 0o700 },
    'etc/passwd': { kind: 'text', text: 'root::0:0:root:/root:/bin/sh\n', permissions: 0o644 },
    'etc/group': { kind: 'text', text: 'root:x:0:\n', permissions: 0o644 },
    init: {
      kind: 'text',
      text: readFileSync(new URL('./bench/init', import.meta.url), 'utf8'),
      permissions: 0o755,
    },
  },
  memoryMiB: 1024,
}
