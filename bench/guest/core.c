/* The mix that a small embedded program is said to be: lists, matrices of integers, a state machine, a checksum. */
#include "kernel.h"

#define NODES 512
#define SIDE 24
#define TEXT_BYTES 1024

struct node {
    struct node *next;
    int16_t key;
    int16_t value;
};

static struct node nodes[NODES];
static int16_t left[SIDE][SIDE], right[SIDE][SIDE];
static int32_t product[SIDE][SIDE];
static uint8_t text[TEXT_BYTES];

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int bit = 0; bit < 32; bit++) {
        unsigned carry = (crc ^ value) & 1;
        value >>= 1;
        crc = (crc >> 1) ^ (carry ? 0xa001 : 0);
    }
    return crc;
}

static struct node *merge(struct node *a, struct node *b, int by_value)
{
    struct node head, *tail = &head;
    while (a && b) {
        int first = by_value ? a->value <= b->value : a->key <= b->key;
        struct node **from = first ? &a : &b;
        tail->next = *from;
        tail = *from;
        *from = (*from)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *sort(struct node *list, int count, int by_value)
{
    if (count == 1) {
        list->next = NULL;
        return list;
    }
    struct node *middle = list;
    for (int n = 0; n < count / 2; n++)
        middle = middle->next;
    struct node *second = sort(middle, count - count / 2, by_value);
    return merge(sort(list, count / 2, by_value), second, by_value);
}

static uint16_t lists(uint16_t crc, int round)
{
    for (int n = 0; n < NODES; n++) {
        nodes[n].next = n + 1 < NODES ? &nodes[n + 1] : NULL;
        nodes[n].key = (int16_t)n;
        nodes[n].value = (int16_t)((n * 7919 + round * 31) & 0x3ff);
    }
    struct node *list = sort(nodes, NODES, 1);
    for (int wanted = 0; wanted < 16; wanted++) {
        struct node *found = list;
        while (found && found->key != wanted * 29)
            found = found->next;
        if (found)
            crc = crc16(crc, (uint32_t)found->value);
    }
    struct node *reversed = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = reversed;
        reversed = list;
        list = next;
    }
    return crc16(crc, (uint32_t)sort(reversed, NODES, 0)->value);
}

static uint16_t matrices(uint16_t crc, int round)
{
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            left[i][j] = (int16_t)(i * j + round);
            right[i][j] = (int16_t)(i - j * round);
        }
    }
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += (int32_t)left[i][k] * right[k][j];
            product[i][j] = (sum >> 2) & 0xffff;
        }
    }
    for (int i = 0; i < SIDE; i++)
        crc = crc16(crc, (uint32_t)product[i][(i * 5) % SIDE]);
    return crc;
}

enum state { START, SIGN, DIGITS, FRACTION, EXPONENT, SCIENCE, WRONG, STATES };

/* Which of the comma-separated words are numbers, and of what kind. */
static uint16_t states(uint16_t crc)
{
    uint32_t seen[STATES] = {0};
    enum state state = START;
    for (int n = 0; n < TEXT_BYTES; n++) {
        uint8_t c = text[n];
        if (c == ',') {
            seen[state]++;
            state = START;
            continue;
        }
        int digit = c >= '0' && c <= '9';
        switch (state) {
        case START:
            state = digit ? DIGITS : c == '+' || c == '-' ? SIGN : c == '.' ? FRACTION : WRONG;
            break;
        case SIGN:
            state = digit ? DIGITS : c == '.' ? FRACTION : WRONG;
            break;
        case DIGITS:
            state = digit ? DIGITS : c == '.' ? FRACTION : c == 'e' ? EXPONENT : WRONG;
            break;
        case FRACTION:
            state = digit ? FRACTION : c == 'e' ? EXPONENT : WRONG;
            break;
        case EXPONENT:
            state = digit || c == '-' ? SCIENCE : WRONG;
            break;
        case SCIENCE:
            state = digit ? SCIENCE : WRONG;
            break;
        default:
            break;
        }
    }
    for (int n = 0; n < STATES; n++)
        crc = crc16(crc, seen[n]);
    return crc;
}

uint64_t run_core(long repeats)
{
    static const char *const words[] = {"5012,", "-1.25e4,", "+.875,", "0x7f,", "3.14159,", "12e-3,", "T0.3,"};
    uint64_t random = 1;
    for (int at = 0; at < TEXT_BYTES;) {
        const char *word = words[next_random(&random) % 7];
        for (; *word && at < TEXT_BYTES; word++)
            text[at++] = (uint8_t)*word;
    }
    uint16_t crc = 0;
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        crc = lists(crc, (int)(n & 0xff));
        crc = matrices(crc, (int)(n & 0xff));
        crc = states(crc);
        text[n % TEXT_BYTES] ^= (uint8_t)(n & 1);
        hash = mix(hash, crc);
    }
    return hash;
}
