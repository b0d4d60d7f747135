/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hal/deadline.h>
#include <hal/driver.h>

#include "cache.h"
#include "internal.h"

#define BLOCK_BYTES ((size_t)65536)
#define ROUNDS 11

/* Two blocks: the one that is worked on, and one to copy from. */
struct bench {
    char *block;
    char *source;
    size_t line;
};

static void soil(const struct bench *b)
{
    for (size_t i = 0; i < BLOCK_BYTES; i += b->line)
        *(volatile char *)(b->block + i) += 1;
}

static void read_back(const struct bench *b)
{
    for (size_t i = 0; i < BLOCK_BYTES; i += b->line)
        (void)*(volatile char *)(b->block + i);
}

/* One complete operation on `len` bytes at `offset`; -1: the reading alone. */
static int run(const struct bench *b, int op, size_t offset, size_t len)
{
    struct iovec range = {b->block + offset, len};

    switch (op) {
    case -1:
        return 0;
    case HAL_CACHE_COPY:
        return hal_copy_nt(b->block + offset, b->source + offset, len);
    case HAL_CACHE_FILL:
        return hal_fill_nt(b->block + offset, 0, len);
    default:
        return hal_cache_ranges((enum hal_cache_op)op, &range, 1);
    }
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static int64_t median(int64_t times[ROUNDS])
{
    qsort(times, ROUNDS, sizeof(times[0]), compare);
    return times[ROUNDS / 2];
}

/* Median time of the whole block, treated `len` bytes at a time, and of reading it again. */
static double time_pieces(const struct bench *b, int op, size_t len)
{
    int64_t times[ROUNDS];

    for (size_t round = 0; round < ROUNDS; round++) {
        soil(b);
        times[round] = hal_now();
        for (size_t i = 0; i < BLOCK_BYTES; i += len)
            run(b, op, i, len);
        read_back(b);
        times[round] = hal_now() - times[round];
    }
    return (double)median(times);
}

static double time_fence(void (*fence)(void))
{
    enum { COUNT = 1000 };
    int64_t times[ROUNDS];

    for (size_t round = 0; round < ROUNDS; round++) {
        times[round] = hal_now();
        for (int i = 0; i < COUNT; i++)
            fence();
        times[round] = hal_now() - times[round];
    }
    return (double)median(times) / COUNT;
}

static void measure(const struct bench *b, struct hal_cache_cost *cost)
{
    size_t count = BLOCK_BYTES / b->line;
    double pieces = (double)count;

    for (int op = 0; op < HAL_CACHE_FENCE_STORE; op++) {
        if (run(b, op, 0, b->line) == -EOPNOTSUPP)
            continue;
        cost->line_ns[op] = time_pieces(b, op, b->line) / pieces;
        cost->block_ns[op] = time_pieces(b, op, BLOCK_BYTES);
    }
    cost->line_ns[HAL_CACHE_FENCE_STORE] = time_fence(hal_fence_store);
    cost->line_ns[HAL_CACHE_FENCE_LOAD] = time_fence(hal_fence_load);
    cost->line_ns[HAL_CACHE_FENCE_FULL] = time_fence(hal_fence_full);
    cost->read_block_ns = time_pieces(b, -1, BLOCK_BYTES);
    cost->read_line_ns = cost->read_block_ns / pieces;
}

COLD int hal_cache_measure(struct hal_cache_cost *out, size_t size)
{
    struct hal_cache_cost cost = {.read_line_ns = 0};
    struct bench b = {.line = hal_cache_line()};
    int err = !out ? -EFAULT : !size ? -EINVAL : 0;

    if (!err) {
        b.block = aligned_alloc(4096, 2 * BLOCK_BYTES);
        err = b.block ? 0 : -ENOMEM;
    }
    if (err)
        return error_settle(hal_fail(err, "measure", "caches", NULL), "measure", "caches");
    memset(b.block, 1, 2 * BLOCK_BYTES);
    b.source = b.block + BLOCK_BYTES;
    measure(&b, &cost);
    free(b.block);
    memset(out, 0, size);
    memcpy(out, &cost, size < sizeof(cost) ? size : sizeof(cost));
    return 0;
}
