/* Kernels of floating point, in double and in single precision. Their checksums are of bits: rounding counts. */
#include "kernel.h"
#include <math.h>
#include <string.h>

static uint64_t bits(double value)
{
    uint64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

uint64_t run_matrix(long repeats)
{
    enum { SIDE = 96 };
    static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = 1.0 / (i + j + 1);
            b[i][j] = (i * 3 + j) % 17 - 8;
        }
    }
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        for (int i = 0; i < SIDE; i++) {
            for (int j = 0; j < SIDE; j++) {
                double sum = 0;
                for (int k = 0; k < SIDE; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        }
        a[n % SIDE][(n * 5) % SIDE] = c[(n * 3) % SIDE][n % SIDE] * 0.001;
        hash = mix(hash, bits(c[n % SIDE][(n * 7) % SIDE]));
    }
    return hash;
}

struct body {
    double position[3], velocity[3], mass;
};

/* Five bodies under gravity: division and square root in the inner loop. */
uint64_t run_nbody(long repeats)
{
    enum { BODIES = 5, STEPS = 1000 };
    struct body bodies[BODIES];
    for (int n = 0; n < BODIES; n++) {
        struct body body = {{n * 2.5, n * n * 0.75 - 1, 0.1 * n}, {0.3 - 0.1 * n, 0.2 * n, 0.01 * n}, n ? 0.05 : 40};
        bodies[n] = body;
    }
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        for (int step = 0; step < STEPS; step++) {
            for (int i = 0; i < BODIES; i++) {
                for (int j = i + 1; j < BODIES; j++) {
                    double d[3], square = 0.01;
                    for (int k = 0; k < 3; k++) {
                        d[k] = bodies[i].position[k] - bodies[j].position[k];
                        square += d[k] * d[k];
                    }
                    double pull = 0.001 / (square * sqrt(square));
                    for (int k = 0; k < 3; k++) {
                        bodies[i].velocity[k] -= d[k] * bodies[j].mass * pull;
                        bodies[j].velocity[k] += d[k] * bodies[i].mass * pull;
                    }
                }
            }
            for (int i = 0; i < BODIES; i++) {
                for (int k = 0; k < 3; k++)
                    bodies[i].position[k] += 0.001 * bodies[i].velocity[k];
            }
        }
        hash = mix(hash, bits(bodies[n % BODIES].position[0]));
    }
    return hash;
}

uint64_t run_mandelbrot(long repeats)
{
    enum { SIDE = 64, ITERATIONS_MAX = 200 };
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        uint64_t total = 0;
        for (int row = 0; row < SIDE; row++) {
            for (int column = 0; column < SIDE; column++) {
                double cr = column * 3.0 / SIDE - 2.2 + n * 1e-6, ci = row * 2.4 / SIDE - 1.2, zr = 0, zi = 0;
                int count = 0;
                while (count < ITERATIONS_MAX && zr * zr + zi * zi < 4) {
                    double next = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = next;
                    count++;
                }
                total += (uint64_t)count;
            }
        }
        hash = mix(hash, total);
    }
    return hash;
}

/* A finite impulse response filter with a clip and a conversion to integers, in single precision, as audio has it. */
uint64_t run_filter(long repeats)
{
    enum { SAMPLES = 4096, TAPS = 32 };
    static float samples[SAMPLES + TAPS], taps[TAPS];
    for (int n = 0; n < SAMPLES + TAPS; n++)
        samples[n] = (float)((n * 7919) % 2001 - 1000) / 1000.0f;
    for (int n = 0; n < TAPS; n++)
        taps[n] = 1.0f / (float)(n + 2);
    uint64_t hash = MIX_START;
    for (long n = 0; n < repeats; n++) {
        int64_t total = 0;
        for (int at = 0; at < SAMPLES; at++) {
            float sum = 0;
            for (int tap = 0; tap < TAPS; tap++)
                sum += samples[at + tap] * taps[tap];
            sum = sum > 1.0f ? 1.0f : sum < -1.0f ? -1.0f : sum;
            total += (int32_t)(sum * 32767.0f);
        }
        samples[n % SAMPLES] *= 0.5f;
        hash = mix(hash, (uint64_t)total);
    }
    return hash;
}
