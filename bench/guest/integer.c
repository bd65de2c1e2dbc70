/* Kernels of integers: hashing, sorting, a byte-code interpreter, copying, recursion. */
#include "kernel.h"
#include <stdlib.h>
#include <string.h>

static inline uint32_t rotate_right(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

/* The fractional parts of the cube roots of the first primes (FIPS 180-4), found in integers. */
static void sha256_constants(uint32_t *constants)
{
    int count = 0;
    for (unsigned prime = 2; count < 64; prime++) {
        int composite = 0;
        for (unsigned by = 2; by * by <= prime; by++)
            composite |= prime % by == 0;
        if (composite)
            continue;
        /* The largest root with root^3 <= prime * 2^96, 35 bits wide. */
        uint64_t root = 0;
        for (int bit = 34; bit >= 0; bit--) {
            unsigned __int128 tried = root | 1ull << bit;
            if (tried * tried * tried <= (unsigned __int128)prime << 96)
                root |= 1ull << bit;
        }
        constants[count++] = (uint32_t)root;
    }
}

static void sha256_block(uint32_t *hash, const uint8_t *block, const uint32_t *constants)
{
    uint32_t words[64], s[8];
    for (int t = 0; t < 16; t++)
        words[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
                   (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t a = words[t - 15], b = words[t - 2];
        words[t] = words[t - 16] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) + words[t - 7] +
                   (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    memcpy(s, hash, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t one = s[7] + (rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[t] + words[t];
        uint32_t two = (rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + one;
        s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = one + two;
    }
    for (int n = 0; n < 8; n++)
        hash[n] += s[n];
}

uint64_t run_sha256(long repeats)
{
    uint32_t constants[64];
    sha256_constants(constants);
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static uint8_t data[4096];
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (uint8_t)(n * 131);
    for (long n = 0; n < repeats; n++) {
        for (size_t at = 0; at < sizeof data; at += 64)
            sha256_block(hash, data + at, constants);
    }
    return (uint64_t)hash[0] << 32 | hash[7];
}

uint64_t run_crc32(long repeats)
{
    static uint32_t table[256];
    static uint8_t data[65536];
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t entry = n;
        for (int bit = 0; bit < 8; bit++)
            entry = entry >> 1 ^ (entry & 1 ? 0xedb88320 : 0);
        table[n] = entry;
    }
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (uint8_t)(n ^ n >> 8);
    uint32_t crc = 0xffffffff;
    for (long n = 0; n < repeats; n++) {
        for (size_t at = 0; at < sizeof data; at++)
            crc = crc >> 8 ^ table[(crc ^ data[at]) & 0xff];
    }
    return ~crc;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The C library's qsort: an indirect call for each comparison. */
uint64_t run_qsort(long repeats)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    uint64_t random = 88172645463325252ull, hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        for (int i = 0; i < COUNT; i++)
            values[i] = next_random(&random);
        qsort(values, COUNT, sizeof values[0], compare);
        hash = mix(hash, values[COUNT / 2]);
    }
    return hash;
}

enum op { PUSH, LOAD, STORE, ADD, SUB, MUL, AND, JUMP_IF, LESS, XOR, END };

/* A stack machine with a switch for each operation, as simple interpreters are written. */
static int64_t interpret(const int32_t *code, int64_t *variables)
{
    int64_t stack[16], *top = stack;
    for (const int32_t *at = code;;) {
        switch (*at++) {
        case PUSH: *top++ = *at++; break;
        case LOAD: *top++ = variables[*at++]; break;
        case STORE: variables[*at++] = *--top; break;
        case ADD: top--; top[-1] += top[0]; break;
        case SUB: top--; top[-1] -= top[0]; break;
        case MUL: top--; top[-1] = (int64_t)((uint64_t)top[-1] * (uint64_t)top[0]); break;
        case AND: top--; top[-1] &= top[0]; break;
        case XOR: top--; top[-1] ^= top[0]; break;
        case LESS: top--; top[-1] = top[-1] < top[0]; break;
        case JUMP_IF:
            if (*--top)
                at = code + *at;
            else
                at++;
            break;
        case END: return variables[0];
        }
    }
}

uint64_t run_bytecode(long repeats)
{
    /* x = (x * 31 + i) ^ (i & 255), i from 0 to 100,000. */
    static const int32_t code[] = {
        PUSH, 0,   STORE, 1,                                                       /* i = 0 */
        LOAD, 0,   PUSH,  31, MUL, LOAD, 1,  ADD,                                  /* at 4 */
        LOAD, 1,   PUSH,  255, AND, XOR, STORE, 0,                                 /* x = ... */
        LOAD, 1,   PUSH,  1,  ADD, STORE, 1,  LOAD, 1, PUSH, 100000, LESS, JUMP_IF, 4, END,
    };
    int64_t variables[2] = {1, 0};
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++)
        hash = mix(hash, (uint64_t)interpret(code, variables));
    return hash;
}

/* The C library's memcpy and memset, from a few bytes to more than the caches of a page table hold. */
uint64_t run_memcpy(long repeats)
{
    enum { BYTES = 1 << 20 };
    static uint8_t from[BYTES], to[BYTES];
    for (size_t n = 0; n < BYTES; n++)
        from[n] = (uint8_t)(n * 7);
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        for (size_t size = 16; size <= BYTES; size *= 4) {
            for (size_t at = 0; at + size <= BYTES; at += size)
                memcpy(to + at, from + at, size);
        }
        memset(from + (n * 4096) % BYTES, (int)n, 4096);
        hash = mix(hash, to[(n * 977) % BYTES]);
    }
    return hash;
}

static __attribute__((noinline)) uint64_t fib(int n)
{
    return n < 2 ? (uint64_t)n : fib(n - 1) + fib(n - 2);
}

uint64_t run_fib(long repeats)
{
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++)
        hash = mix(hash, fib(22 + (int)(n & 3)));
    return hash;
}
