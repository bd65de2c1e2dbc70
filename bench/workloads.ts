/** What the benchmarks run inside the guest; `bench/guest` has the programs. */

export interface Workload {
  readonly name: string
  readonly kind: 'integer' | 'floating point' | 'kernel' | 'program'
  /** What a reader should picture. */
  readonly work: string
  /** Of the work, so that it takes QEMU one to two seconds. */
  readonly repeats: number
}

/** Of the repeats, in a quick run. */
export const QUICK_SHARE = 0.25

export const WORKLOADS: readonly Workload[] = [
  kernel('core', 'integer', 'lists, integer matrices, a state machine, CRC-16', 6000),
  kernel('sha256', 'integer', 'SHA-256 in C', 24_000),
  kernel('crc32', 'integer', 'CRC-32 by table', 3000),
  kernel('qsort', 'integer', 'the C library’s qsort of 20,000 numbers', 100),
  kernel('bytecode', 'integer', 'a byte-code interpreter', 40),
  kernel('memcpy', 'integer', 'the C library’s memcpy, 16 bytes to 1 MiB', 100),
  kernel('fib', 'integer', 'recursion', 800),
  kernel('strings', 'integer', 'splitting, searching, comparing strings', 2000),
  kernel('hashtable', 'integer', 'a hash table of 32 MiB', 2400),
  kernel('matrix', 'floating point', 'product of matrices of doubles', 120),
  kernel('nbody', 'floating point', 'five bodies: division and square root', 450),
  kernel('mandelbrot', 'floating point', 'the Mandelbrot set in doubles', 150),
  kernel('filter', 'floating point', 'a filter in single precision', 450),
  kernel('syscall', 'kernel', 'getppid', 1200),
  kernel('fork', 'kernel', 'fork, exit, wait', 400),
  kernel('exec', 'kernel', 'start of a dynamically linked program', 50),
  kernel('pipe', 'kernel', 'a byte there and back between two processes', 5000),
  kernel('threads', 'kernel', 'two threads that wake each other', 8000),
  kernel('signal', 'kernel', 'a signal raised and handled', 5000),
  kernel('pagefault', 'kernel', 'first touch and copy on write of pages', 80),
  kernel('files', 'kernel', 'small files made, written, read, removed', 2500),
  kernel('tcp', 'kernel', 'request and answer over loopback TCP', 2800),
  program('xz', 'xz -6', 240),
  program('unxz', 'xz -d', 8),
  program('gzip', 'gzip -6', 3600),
  program('gunzip', 'gzip -d', 12),
  program('zstd', 'zstd -3', 6),
  program('sha512', 'openssl dgst -sha512', 10),
  program('aes', 'openssl enc -aes-256-cbc', 4),
  program('python', 'Python: objects, dictionaries, strings, a sieve, queens', 2),
  program('perl', 'Perl: regular expressions, hashes, sorting', 2),
  program('lua', 'Lua: tables, strings, floats', 26),
  program('awk', 'mawk: fields, associative arrays, regular expressions', 3),
  program('text', 'tr, grep, sort and uniq in a pipeline', 6),
  program('shell', 'a shell script: builtins and subshells', 32),
  program('sqlite', 'SQLite in memory: insert, index, join, update', 170),
  program('redis', 'Redis and redis-benchmark over loopback TCP', 8),
  program('compile', 'gcc -O2 -S of a file', 1),
  program('build', 'gcc -O1 of a small file, assembled and linked', 1),
]

function kernel(name: string, kind: Workload['kind'], work: string, repeats: number): Workload {
  return { name, kind, work, repeats }
}

function program(name: string, work: string, repeats: number): Workload {
  return { name, kind: 'program', work, repeats }
}
