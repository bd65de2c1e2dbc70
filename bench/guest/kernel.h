/* What the kernels share: each does `repeats` times the same work and returns a checksum of what it computed. */
#ifndef KERNEL_H
#define KERNEL_H
#include <stddef.h>
#include <stdint.h>

/* Marsaglia's xorshift64: the same numbers on every machine. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* One round of FNV-1a on 64-bit words. */
static inline uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x100000001b3ull;
}

#define MIX_START 0xcbf29ce484222325ull

/* Ends the program with status 1 and the system's reason if `failed`. */
void require(int failed, const char *what);

uint64_t run_pause(long repeats);
uint64_t run_core(long repeats);
uint64_t run_sha256(long repeats);
uint64_t run_crc32(long repeats);
uint64_t run_qsort(long repeats);
uint64_t run_bytecode(long repeats);
uint64_t run_memcpy(long repeats);
uint64_t run_fib(long repeats);
uint64_t run_strings(long repeats);
uint64_t run_hashtable(long repeats);
uint64_t run_matrix(long repeats);
uint64_t run_nbody(long repeats);
uint64_t run_mandelbrot(long repeats);
uint64_t run_filter(long repeats);

uint64_t run_syscall(long repeats);
uint64_t run_fork(long repeats);
uint64_t run_exec(long repeats);
uint64_t run_pipe(long repeats);
uint64_t run_threads(long repeats);
uint64_t run_signal(long repeats);
uint64_t run_pagefault(long repeats);
uint64_t run_files(long repeats);
uint64_t run_tcp(long repeats);

#endif
