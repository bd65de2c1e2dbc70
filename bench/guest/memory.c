/* Kernels that are about memory: strings, and a table much larger than what a TLB reaches. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Splitting, searching, comparing and formatting, as text tools do. */
uint64_t run_strings(long repeats)
{
    enum { LINES = 400 };
    static char lines[LINES][64];
    char line[64];
    uint64_t random = 42, hash = MIX_START;
    for (int n = 0; n < LINES; n++) {
        unsigned value = (unsigned)(next_random(&random) % 1000000);
        snprintf(lines[n], sizeof lines[n], "user%u:x:%u:%u:name %u:/home/u%u:/bin/sh", value % 977, value,
                 value / 7, value % 31, value % 977);
    }
    for (long n = 0; n < repeats; n++) {
        size_t total = 0;
        for (int i = 0; i < LINES; i++) {
            strcpy(line, lines[(i * 7 + n) % LINES]);
            int fields = 0;
            char *rest = line;
            for (char *field; (field = strsep(&rest, ":")) != NULL; fields++)
                total += strlen(field) * (size_t)(fields + 1);
            char *home = strstr(lines[i], "home/u9");
            if (home)
                total += (size_t)strtol(home + 6, NULL, 10);
            total += strcmp(lines[i], lines[(i + 1) % LINES]) < 0;
        }
        hash = mix(hash, total);
    }
    return hash;
}

/* Open addressing in 32 MiB: nearly every look-up is a new page. */
uint64_t run_hashtable(long repeats)
{
    enum { SLOTS = 1 << 21 };
    struct slot {
        uint64_t key, value;
    } *slots = calloc(SLOTS, sizeof *slots);
    require(slots == NULL, "calloc");
    uint64_t random = 7, hash = MIX_START;
    for (long n = 0; n < repeats * 1000; n++) {
        uint64_t key = next_random(&random) % 1000003 + 1;
        size_t at = (key * 0x9e3779b97f4a7c15ull) >> 43;
        while (slots[at].key != 0 && slots[at].key != key)
            at = (at + 1) % SLOTS;
        slots[at].key = key;
        slots[at].value += (uint64_t)n;
        hash = mix(hash, slots[at].value);
    }
    free(slots);
    return hash;
}
