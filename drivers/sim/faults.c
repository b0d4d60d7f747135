/* SPDX-License-Identifier: Apache-2.0 */
/* Chance that repeats itself: the same seed gives the same faults in the same order. */
#include "sim.h"

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void chance_seed(struct chance *chance, int64_t seed)
{
    uint64_t state = (uint64_t)seed;

    for (int lane = 0; lane < 3; lane++)
        chance->state[lane] = next(&state);
}

bool chance_hits(struct chance *chance, enum hal_lane lane, double probability)
{
    if (probability <= 0) /* no draw: a fault that is off does not change the others */
        return false;
    return (double)(next(&chance->state[lane]) >> 11) * 0x1p-53 < probability;
}

uint64_t chance_below(struct chance *chance, enum hal_lane lane, uint64_t bound)
{
    return next(&chance->state[lane]) % bound;
}
