/* `kernels NAME REPEATS` does the work and prints its checksum. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kernel {
    const char *name;
    uint64_t (*run)(long repeats);
};

/* A moment of nothing, counted in instructions, so that it lasts in a replay as well. */
uint64_t run_pause(long repeats)
{
    volatile uint64_t count = 0;
    for (long n = 0; n < repeats * 10000000; n++)
        count++;
    return count;
}

static const struct kernel kernels[] = {
    {"pause", run_pause},
    {"core", run_core},           {"sha256", run_sha256},     {"crc32", run_crc32},
    {"qsort", run_qsort},         {"bytecode", run_bytecode}, {"memcpy", run_memcpy},
    {"fib", run_fib},             {"strings", run_strings},   {"hashtable", run_hashtable},
    {"matrix", run_matrix},       {"nbody", run_nbody},       {"mandelbrot", run_mandelbrot},
    {"filter", run_filter},       {"syscall", run_syscall},   {"fork", run_fork},
    {"exec", run_exec},           {"pipe", run_pipe},         {"threads", run_threads},
    {"signal", run_signal},       {"pagefault", run_pagefault}, {"files", run_files},
    {"tcp", run_tcp},
};

void require(int failed, const char *what)
{
    if (!failed)
        return;
    perror(what);
    exit(1);
}

int main(int argc, char **argv)
{
    /* What `exec` starts, over and over. */
    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 42;
    if (argc == 3) {
        for (size_t n = 0; n < sizeof kernels / sizeof kernels[0]; n++) {
            if (strcmp(kernels[n].name, argv[1]) != 0)
                continue;
            printf("%016llx\n", (unsigned long long)kernels[n].run(atol(argv[2])));
            return 0;
        }
    }
    fprintf(stderr, "usage: kernels NAME REPEATS\n");
    return 2;
}
