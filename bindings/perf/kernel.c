/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function a pattern. Vectors are those of the compiler (16 bytes wide), so that the same
 * source is right on every architecture; on device memory every access is a volatile one of exactly
 * `width` bytes.
 */
#include <hal/cache.h>

#include "kernel.h"
#include "order.h"
#include "perf.h"

#define PAGE_LINES ((size_t)64)
#define RANGE_LINES ((size_t)1024)
#define AHEAD 16
#define CHAINS 8
#define SKEW 8
#define FILL 0xA5

/* Aligned to 8, so that a skewed record can be read; costs nothing where it is aligned to more. */
typedef uint64_t vector __attribute__((vector_size(16), aligned(8), may_alias));

/* What is combined of all that was read; the compiler must take it to be used. */
struct sum {
    vector a, b;
};

static inline void use(struct sum *sum)
{
    __asm__ volatile("" : : "r"(sum) : "memory");
}

static inline void read_line(const char *at, struct sum *sum)
{
    const vector *from = (const vector *)at;

    sum->a ^= from[0];
    sum->b ^= from[1];
    sum->a ^= from[2];
    sum->b ^= from[3];
}

static inline vector pattern_of(uint8_t byte)
{
    uint64_t word = byte * 0x0101010101010101U;

    return (vector){word, word};
}

/* The barrier keeps the compiler from making a call of memset() or memcpy() of the loop. */
static inline void write_line(char *at, vector value)
{
    vector *to = (vector *)at;

    to[0] = value;
    to[1] = value;
    to[2] = value;
    to[3] = value;
    __asm__ volatile("" : : : "memory");
}

static inline void copy_line(char *at, const char *from_line)
{
    vector *to = (vector *)at;
    const vector *from = (const vector *)from_line;
    vector a = from[0], b = from[1], c = from[2], d = from[3];

    to[0] = a;
    to[1] = b;
    to[2] = c;
    to[3] = d;
    __asm__ volatile("" : : : "memory");
}

static char *here(const struct walk *walk)
{
    return walk->block + walk->position * LINE;
}

/* The same place in the other buffer, which may be smaller and is then gone through again. */
static char *there(const struct walk *walk)
{
    return walk->other + (walk->position & (walk->row - 1)) * LINE;
}

static inline struct order order_in(const struct walk *walk)
{
    return order_of(walk->lines);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int touch(struct walk *walk, size_t count)
{
    for (uint64_t i = walk->position; i < walk->position + count; i++)
        if (i % PAGE_LINES == 0)
            (void)*(const volatile uint32_t *)(walk->block + i * LINE);
    return 0;
}

/* Atomic, so that what another thread or process stores meanwhile is not lost. */
static int touch_write(struct walk *walk, size_t count)
{
    for (uint64_t i = walk->position; i < walk->position + count; i++)
        if (i % PAGE_LINES == 0)
            __atomic_fetch_or((uint32_t *)(walk->block + i * LINE), 0, __ATOMIC_RELAXED);
    return 0;
}

static int read_in_order(struct walk *walk, size_t count)
{
    const char *at = here(walk);
    struct sum sum = {{0, 0}, {0, 0}};

    for (const char *end = at + count * LINE; at < end; at += LINE)
        read_line(at, &sum);
    use(&sum);
    return 0;
}

static int read_random(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    struct sum sum = {{0, 0}, {0, 0}};
    uint64_t position = walk->position;

    while (count--) {
        read_line(walk->block + order_line(order, position) * LINE, &sum);
        position = order_next(order, position);
    }
    walk->position = position;
    use(&sum);
    return 0;
}

static int read_random_ahead(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    struct sum sum = {{0, 0}, {0, 0}};
    uint64_t position = walk->position, ahead = position;

    for (int i = 0; i < AHEAD; i++)
        ahead = order_next(order, ahead);
    while (count--) {
        hal_prefetch_read(walk->block + order_line(order, ahead) * LINE, LINE);
        ahead = order_next(order, ahead);
        read_line(walk->block + order_line(order, position) * LINE, &sum);
        position = order_next(order, position);
    }
    walk->position = position;
    use(&sum);
    return 0;
}

static int read_random_skew(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    struct sum sum = {{0, 0}, {0, 0}};
    uint64_t position = walk->position, last = walk->lines - 1;

    while (count--) {
        uint64_t line = order_line(order, position);

        line -= line == last && line > 0; /* which would reach beyond the block */
        read_line(walk->block + line * LINE + SKEW * (last > 0), &sum);
        position = order_next(order, position);
    }
    walk->position = position;
    use(&sum);
    return 0;
}

/* What the processor cannot know to be 0: makes an address wait for the load before. */
static uint64_t unknown_zero(void)
{
    static const volatile uint64_t zero = 0;

    return zero;
}

static int chase(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    uint64_t zero = unknown_zero(), position = walk->position, value = 0;

    while (count--) {
        const char *at = walk->block + order_line(order, position) * LINE;

        value = *(const volatile uint64_t *)(at + (value & zero));
        position = order_next(order, position);
    }
    walk->position = position;
    return 0;
}

/* The chains share one order and take its lines in turn. */
static int chase_8(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    uint64_t zero = unknown_zero(), position = walk->position, value[CHAINS] = {0};

    for (; count >= CHAINS; count -= CHAINS)
        for (int i = 0; i < CHAINS; i++) {
            const char *at = walk->block + order_line(order, position) * LINE;

            value[i] = *(const volatile uint64_t *)(at + (value[i] & zero));
            position = order_next(order, position);
        }
    walk->position = position;
    return chase(walk, count);
}

static int write_in_order(struct walk *walk, size_t count)
{
    vector value = pattern_of(FILL);
    char *at = here(walk);

    for (const char *end = at + count * LINE; at < end; at += LINE)
        write_line(at, value);
    return 0;
}

static int write_random(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    vector value = pattern_of(FILL);
    uint64_t position = walk->position;

    while (count--) {
        write_line(walk->block + order_line(order, position) * LINE, value);
        position = order_next(order, position);
    }
    walk->position = position;
    return 0;
}

static int write_nt(struct walk *walk, size_t count)
{
    return hal_fill_nt(here(walk), FILL, count * LINE);
}

static int copy_out(struct walk *walk, size_t count)
{
    char *to = there(walk), *from = here(walk);

    for (size_t i = 0; i < count; i++)
        copy_line(to + i * LINE, from + i * LINE);
    return 0;
}

static int copy_in(struct walk *walk, size_t count)
{
    char *to = here(walk), *from = there(walk);

    for (size_t i = 0; i < count; i++)
        copy_line(to + i * LINE, from + i * LINE);
    return 0;
}

static int copy_in_nt(struct walk *walk, size_t count)
{
    return hal_copy_nt(here(walk), there(walk), count * LINE);
}

static int flush_lines(struct walk *walk, size_t count)
{
    vector value = pattern_of(FILL);
    char *at = here(walk);
    int err = 0;

    for (const char *end = at + count * LINE; at < end && !err; at += LINE) {
        write_line(at, value);
        err = hal_cache_writeback(at, LINE);
        hal_fence_store();
    }
    return err;
}

static int flush_range(struct walk *walk, size_t count)
{
    vector value = pattern_of(FILL);
    char *at = here(walk);
    int err = 0;

    while (count && !err) {
        size_t some = count < RANGE_LINES ? count : RANGE_LINES;

        for (size_t i = 0; i < some; i++)
            write_line(at + i * LINE, value);
        err = hal_cache_writeback(at, some * LINE);
        hal_fence_store();
        at += some * LINE;
        count -= some;
    }
    return err;
}

/* ---- device memory --------------------------------------------------------------------------- */

static inline uint64_t load(const char *at, unsigned width)
{
    return width == 8 ? *(const volatile uint64_t *)at : *(const volatile uint32_t *)at;
}

static int device_touch(struct walk *walk, size_t count)
{
    for (uint64_t i = walk->position; i < walk->position + count; i++)
        if (i % PAGE_LINES == 0)
            (void)load(walk->block + i * LINE, walk->width);
    return 0;
}

static int device_load(struct walk *walk, size_t count)
{
    const char *at = here(walk), *end = at + count * LINE;

    for (; at < end; at += walk->width)
        (void)load(at, walk->width);
    return 0;
}

static int device_chase(struct walk *walk, size_t count)
{
    struct order order = order_in(walk);
    uint64_t zero = unknown_zero(), position = walk->position, value = 0;

    while (count--) {
        const char *at = walk->block + order_line(order, position) * LINE;

        value = load(at + (value & zero), walk->width);
        position = order_next(order, position);
    }
    walk->position = position;
    return 0;
}

static int device_store(struct walk *walk, size_t count)
{
    uint64_t word = FILL * 0x0101010101010101U;
    char *at = here(walk);

    for (const char *end = at + count * LINE; at < end; at += walk->width) {
        if (walk->width == 8)
            *(volatile uint64_t *)at = word;
        else
            *(volatile uint32_t *)at = (uint32_t)word;
    }
    hal_fence_full();
    (void)load(at - walk->width, walk->width);
    return 0;
}

/* hal_fill_nt() writes whole lines, which write-combining memory is for; then as device_store(). */
static int device_write_nt(struct walk *walk, size_t count)
{
    int err = hal_fill_nt(here(walk), FILL, count * LINE);

    hal_fence_full();
    (void)load(here(walk) + count * LINE - walk->width, walk->width);
    return err;
}

/* ---- which ----------------------------------------------------------------------------------- */

static const struct pattern memory[PERF_PATTERNS] = {
    [PERF_TOUCH] = {touch, 0},
    [PERF_TOUCH_WRITE] = {touch_write, 0},
    [PERF_READ] = {read_in_order, 0},
    [PERF_READ_RANDOM] = {read_random, 1},
    [PERF_READ_RANDOM_AHEAD] = {read_random_ahead, 1},
    [PERF_READ_RANDOM_SKEW] = {read_random_skew, 1},
    [PERF_CHASE] = {chase, 1},
    [PERF_CHASE_8] = {chase_8, 1},
    [PERF_WRITE] = {write_in_order, 0},
    [PERF_WRITE_RANDOM] = {write_random, 1},
    [PERF_WRITE_NT] = {write_nt, 0},
    [PERF_COPY_OUT] = {copy_out, 0},
    [PERF_COPY_IN] = {copy_in, 0},
    [PERF_COPY_IN_NT] = {copy_in_nt, 0},
    [PERF_FLUSH_LINES] = {flush_lines, 0},
    [PERF_FLUSH_RANGE] = {flush_range, 0},
};

static const struct pattern device[PERF_PATTERNS] = {
    [PERF_TOUCH] = {device_touch, 0},       [PERF_LOAD] = {device_load, 0},
    [PERF_CHASE] = {device_chase, 1},       [PERF_STORE] = {device_store, 0},
    [PERF_WRITE_NT] = {device_write_nt, 0},
};

struct pattern kernel_of(int pattern, unsigned width)
{
    if (pattern < 0 || pattern >= PERF_PATTERNS)
        return (struct pattern){0, 0};
    return (width ? device : memory)[pattern];
}
