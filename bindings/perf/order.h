/* SPDX-License-Identifier: Apache-2.0 */
/* The random order of a block's lines; perf.h says which. */
#ifndef HAL_PERF_ORDER_H
#define HAL_PERF_ORDER_H

#include <stdint.h>

struct order {
    uint64_t mask; /* lines - 1 */
    unsigned shift;
};

static inline struct order order_of(uint64_t lines)
{
    unsigned bits = (unsigned)__builtin_ctzll(lines);

    return (struct order){lines - 1, bits / 2 + 1};
}

/* The constants are those of Knuth's MMIX: full period for every power of two. */
static inline uint64_t order_next(struct order order, uint64_t position)
{
    return (position * 6364136223846793005U + 1442695040888963407U) & order.mask;
}

/* Low bits of such a generator have short periods: mix the high ones in. One to one. */
static inline uint64_t order_line(struct order order, uint64_t position)
{
    return position ^ (position >> order.shift);
}

#endif
