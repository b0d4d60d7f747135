/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#include "cache.h"
#include "internal.h"

/* Below this a copy goes through the cache and is written back: a non-temporal store of few lines
 * costs more than it saves. */
#define AROUND_MIN 256

/* From here on a source is not in the second-level cache, and fetching each page of it whole while
 * the one before is stored keeps reads and writes of memory apart: 5 % faster at 4 and 16 MiB on
 * AMD Zen 3 (`make bench`), where prefetching by lines between the stores is slower than none. */
#define AHEAD_MIN ((size_t)2 << 20)
#define AHEAD_PAGE ((size_t)4096)

struct cache_choice cache_chosen;

static const char *const op_names[HAL_CACHE_OPS] = {
    [HAL_CACHE_WRITEBACK] = "writeback",
    [HAL_CACHE_FLUSH] = "flush",
    [HAL_CACHE_INVALIDATE] = "invalidate",
    [HAL_CACHE_PERSIST] = "persist",
    [HAL_CACHE_SYNC] = "sync",
    [HAL_CACHE_PREFETCH_READ] = "prefetch-read",
    [HAL_CACHE_PREFETCH_WRITE] = "prefetch-write",
    [HAL_CACHE_COPY] = "copy",
    [HAL_CACHE_FILL] = "fill",
    [HAL_CACHE_FENCE_STORE] = "fence-store",
    [HAL_CACHE_FENCE_LOAD] = "fence-load",
    [HAL_CACHE_FENCE_FULL] = "fence-full",
};

const char *hal_cache_op_name(enum hal_cache_op op)
{
    return (size_t)op < HAL_CACHE_OPS ? op_names[op] : NULL;
}

/* ---- choosing ---- */

#define RANGE_OPS                                                                                  \
    (OP(WRITEBACK) | OP(FLUSH) | OP(INVALIDATE) | OP(PERSIST) | OP(SYNC) | OP(PREFETCH_READ) |     \
     OP(PREFETCH_WRITE))
#define HINT_OPS (OP(PREFETCH_READ) | OP(PREFETCH_WRITE))

static bool available(const struct cache_method *method, const struct cache_cpu *cpu)
{
    return (method->needs & ~cpu->features) == 0;
}

static void use(struct cache_choice *out, const struct cache_method *method, uint32_t ops)
{
    for (size_t op = 0; op < HAL_CACHE_OPS; op++)
        if (ops & 1u << op)
            out->method[op] = method;
}

static const struct cache_method *method_named(const char *name, size_t len)
{
    for (size_t i = 0; i < cache_method_count; i++)
        if (!strncmp(cache_methods[i].name, name, len) && !cache_methods[i].name[len])
            return &cache_methods[i];
    return NULL;
}

static HAL_PRINTF(2, 3) void refuse(struct cache_choice *out, const char *format, ...)
{
    size_t used = strlen(out->refused);
    va_list args;

    if (used && used + 2 < sizeof(out->refused)) {
        memcpy(out->refused + used, "; ", 3);
        used += 2;
    }
    va_start(args, format);
    vsnprintf(out->refused + used, sizeof(out->refused) - used, format, args);
    va_end(args);
}

static void ask_for(struct cache_choice *out, const char *name, size_t len)
{
    const struct cache_method *method = method_named(name, len);
    uint32_t ops = method ? method->ops : RANGE_OPS & ~HINT_OPS;

    if (!method && !(len == 4 && !memcmp(name, "none", 4))) {
        refuse(out, "%.*s: no instruction that this library knows on %s", (int)len, name,
               cache_architecture);
        return;
    }
    if (method && !available(method, &out->cpu)) {
        refuse(out, "%s: this processor or kernel does not have it (%s)", method->name,
               method->fact);
        return;
    }
    use(out, method, ops);
    out->asked |= ops;
}

COLD void cache_choose(struct cache_choice *out, const struct cache_cpu *cpu, const char *wanted)
{
    memset(out, 0, sizeof(*out));
    out->cpu = *cpu;
    for (size_t i = cache_method_count; i-- > 0;)
        if (available(&cache_methods[i], cpu))
            use(out, &cache_methods[i], cache_methods[i].ops);
    if (!wanted || !*wanted)
        return;
    snprintf(out->requested, sizeof(out->requested), "%s", wanted);
    for (const char *name = out->requested; *name;) {
        size_t len = strcspn(name, ",");

        if (len)
            ask_for(out, name, len);
        name += len + (name[len] == ',');
    }
}

/* Before main() and before the constructors of whatever links this library. */
__attribute__((constructor(101))) static void choose(void)
{
    struct cache_cpu cpu;

    cache_detect(&cpu);
    cache_choose(&cache_chosen, &cpu, secure_getenv("HAL_CACHE"));
}

/* ---- ranges ---- */

COLD static int fail_range(enum hal_cache_op op, const void *ptr, size_t len)
{
    int err = ptr ? hal_fail_plain(-EFAULT, op_names[op], "memory",
                                   "%zu bytes from %p reach beyond the address space", len, ptr)
                  : hal_fail_plain(-EFAULT, op_names[op], "memory", "the address is NULL");

    return error_settle(err, op_names[op], "memory");
}

COLD static int fail_unsupported(enum hal_cache_op op)
{
    const struct cache_method *method = cache_chosen.method[op];
    const char *why = method                          ? method->weak
                      : cache_chosen.asked & 1u << op ? "HAL_CACHE asks for none"
                                                      : cache_missing;
    int err = hal_fail_plain(-EOPNOTSUPP, op_names[op], "memory", "%s", why);

    return error_settle(err, op_names[op], "memory");
}

static bool sound(const void *ptr, size_t len)
{
    uintptr_t end;

    return ptr && !__builtin_add_overflow((uintptr_t)ptr, len, &end) &&
           end <= UINTPTR_MAX - cache_chosen.cpu.line;
}

static void fence(enum hal_cache_op op)
{
    if (OP(WRITEBACK) & 1u << op || OP(PERSIST) & 1u << op)
        CACHE_FENCE(FENCE_STORE);
    else if (!(HINT_OPS & 1u << op))
        CACHE_FENCE(FENCE_FULL);
}

/* The lines of a sound range; `op` must have a method. */
static inline void lines(enum hal_cache_op op, const void *ptr, size_t len)
{
    size_t line = cache_chosen.cpu.line;
    uintptr_t start = (uintptr_t)ptr;

    cache_chosen.method[op]->range(start & ~(line - 1), start + len, line);
}

/* What is left to say after the lines and the fence. */
static inline int outcome(enum hal_cache_op op)
{
    return op == HAL_CACHE_PERSIST && UNLIKELY(cache_chosen.method[op]->weak) ? fail_unsupported(op)
                                                                              : 0;
}

static inline int one(enum hal_cache_op op, const void *ptr, size_t len, bool fenced)
{
    if (UNLIKELY(!len))
        return 0;
    if (UNLIKELY(!sound(ptr, len)))
        return fail_range(op, ptr, len);
    if (UNLIKELY(!cache_chosen.method[op])) {
        CACHE_FENCE(FENCE_FULL);
        return fail_unsupported(op);
    }
    lines(op, ptr, len);
    if (fenced)
        fence(op);
    return outcome(op);
}

int hal_cache_writeback(const void *ptr, size_t len)
{
    return one(HAL_CACHE_WRITEBACK, ptr, len, false);
}

int hal_cache_flush(const void *ptr, size_t len)
{
    return one(HAL_CACHE_FLUSH, ptr, len, false);
}

int hal_cache_invalidate(const void *ptr, size_t len)
{
    return one(HAL_CACHE_INVALIDATE, ptr, len, false);
}

int hal_cache_persist(const void *ptr, size_t len)
{
    return one(HAL_CACHE_PERSIST, ptr, len, true);
}

int hal_cxl_sync(const void *ptr, size_t len)
{
    return one(HAL_CACHE_SYNC, ptr, len, true);
}

void hal_prefetch_read(const void *ptr, size_t len)
{
    if (len && sound(ptr, len))
        lines(HAL_CACHE_PREFETCH_READ, ptr, len);
}

void hal_prefetch_write(const void *ptr, size_t len)
{
    if (len && sound(ptr, len))
        lines(HAL_CACHE_PREFETCH_WRITE, ptr, len);
}

/* ---- many ranges ---- */

static int check_op(enum hal_cache_op op)
{
    int err;

    if ((size_t)op < HAL_CACHE_OPS && RANGE_OPS & 1u << op)
        return 0;
    err = hal_fail_plain(-EINVAL, "cache operation", "memory",
                         "number %d is not an operation on ranges", (int)op);
    return error_settle(err, "cache operation", "memory");
}

int hal_cache_ranges(enum hal_cache_op op, const struct iovec *ranges, size_t count)
{
    int err = check_op(op);

    if (err)
        return err;
    if (!ranges && count)
        return fail_range(op, NULL, 0);
    for (size_t i = 0; i < count; i++)
        if (ranges[i].iov_len && !sound(ranges[i].iov_base, ranges[i].iov_len))
            return fail_range(op, ranges[i].iov_base, ranges[i].iov_len);
    if (!cache_chosen.method[op]) {
        CACHE_FENCE(FENCE_FULL);
        return fail_unsupported(op);
    }
    for (size_t i = 0; i < count; i++)
        if (ranges[i].iov_len)
            lines(op, ranges[i].iov_base, ranges[i].iov_len);
    fence(op);
    return outcome(op);
}

/* A strided array brought into order: longest stride first, all positive, starting at the lowest
 * address, the innermost dimensions melted into one run of bytes. */
struct strided {
    uintptr_t base;
    size_t run;  /* bytes */
    size_t span; /* from base to the end of the last run */
    size_t dimensions;
    size_t shape[HAL_CACHE_DIMENSIONS_MAX];
    size_t stride[HAL_CACHE_DIMENSIONS_MAX];
};

static void insert_dimension(struct strided *a, size_t shape, size_t stride)
{
    size_t i = a->dimensions++;

    for (; i > 0 && a->stride[i - 1] < stride; i--) {
        a->stride[i] = a->stride[i - 1];
        a->shape[i] = a->shape[i - 1];
    }
    a->stride[i] = stride;
    a->shape[i] = shape;
}

/* Where the gap between two runs is shorter than a line, no line in it is untouched. */
static void melt(struct strided *a)
{
    while (a->dimensions) {
        size_t i = a->dimensions - 1;

        if (a->stride[i] >= a->run + cache_chosen.cpu.line)
            return;
        a->run += (a->shape[i] - 1) * a->stride[i];
        a->dimensions--;
    }
}

/* False when the array reaches beyond the address space. */
static bool bring_into_order(struct strided *a, const void *ptr, size_t itemsize, size_t dimensions,
                             const ssize_t *shape, const ssize_t *strides)
{
    a->base = (uintptr_t)ptr;
    a->run = a->span = itemsize;
    a->dimensions = 0;
    for (size_t i = 0; i < dimensions; i++) {
        size_t stride = strides[i] < 0 ? -(size_t)strides[i] : (size_t)strides[i];
        size_t reach;

        if (shape[i] <= 1 || !stride)
            continue;
        if (__builtin_mul_overflow((size_t)shape[i] - 1, stride, &reach) ||
            __builtin_add_overflow(a->span, reach, &a->span))
            return false;
        if (strides[i] < 0 && __builtin_sub_overflow(a->base, reach, &a->base))
            return false;
        insert_dimension(a, (size_t)shape[i], stride);
    }
    melt(a);
    return sound((void *)a->base, a->span);
}

static void strided_lines(enum hal_cache_op op, const struct strided *a)
{
    size_t line = cache_chosen.cpu.line;
    size_t index[HAL_CACHE_DIMENSIONS_MAX] = {0};
    uintptr_t run = a->base, last = 0; /* the last line that the run before has treated */
    size_t i;

    do {
        uintptr_t start = run & ~(line - 1), end = run + a->run;

        if (start == last)
            start += line;
        if (start < end)
            cache_chosen.method[op]->range(start, end, line);
        last = (end - 1) & ~(line - 1);
        for (i = a->dimensions; i-- > 0;) { /* count on, like an odometer */
            run += a->stride[i];
            if (++index[i] < a->shape[i])
                break;
            run -= a->shape[i] * a->stride[i];
            index[i] = 0;
        }
    } while (i != (size_t)-1);
}

int hal_cache_strided(enum hal_cache_op op, const void *ptr, size_t itemsize, size_t dimensions,
                      const ssize_t *shape, const ssize_t *strides)
{
    struct strided a;
    bool empty = !itemsize;
    int err = check_op(op);

    if (err)
        return err;
    if (dimensions > HAL_CACHE_DIMENSIONS_MAX) {
        err = hal_fail_plain(-E2BIG, op_names[op], "array", "%zu dimensions, at most %d",
                             dimensions, HAL_CACHE_DIMENSIONS_MAX);
        return error_settle(err, op_names[op], "array");
    }
    if (dimensions && (!shape || !strides))
        return fail_range(op, NULL, 0);
    for (size_t i = 0; i < dimensions; i++) {
        if (shape[i] < 0) {
            err = hal_fail_plain(-EINVAL, op_names[op], "array", "dimension %zu has length %zd", i,
                                 shape[i]);
            return error_settle(err, op_names[op], "array");
        }
        empty |= !shape[i];
    }
    if (empty)
        return 0;
    if (!ptr || !bring_into_order(&a, ptr, itemsize, dimensions, shape, strides))
        return fail_range(op, ptr, itemsize);
    if (!cache_chosen.method[op]) {
        CACHE_FENCE(FENCE_FULL);
        return fail_unsupported(op);
    }
    strided_lines(op, &a);
    fence(op);
    return outcome(op);
}

/* ---- around the caches ---- */

static inline void plain(char *dst, const char *src, size_t len, size_t step)
{
    if (!len)
        return;
    if (step)
        memcpy(dst, src, len);
    else
        memset(dst, *src, len);
}

static inline void fetch(const char *src, size_t len)
{
    for (size_t i = 0; i < len; i += 64)
        __builtin_prefetch(src + i);
}

/* Whole blocks. Nothing is fetched beyond the source: it may end where device memory begins. */
static void store_blocks(const struct cache_method *method, char *dst, const char *src, size_t len,
                         size_t step)
{
    if (step && len >= AHEAD_MIN) {
        for (; len > AHEAD_PAGE; dst += AHEAD_PAGE, src += AHEAD_PAGE, len -= AHEAD_PAGE) {
            size_t rest = len - AHEAD_PAGE;

            fetch(src + AHEAD_PAGE, rest < AHEAD_PAGE ? rest : AHEAD_PAGE);
            method->store(dst, src, AHEAD_PAGE, step);
        }
    }
    method->store(dst, src, len, step);
}

static int store(enum hal_cache_op op, char *dst, const char *src, size_t len, size_t step)
{
    const struct cache_method *method = cache_chosen.method[op];
    size_t block = cache_chosen.cpu.block;
    size_t head = -(uintptr_t)dst & (block - 1), body = 0, tail;
    bool around = len >= AROUND_MIN && len >= head + block;

    if (around)
        body = (len - head) & ~(block - 1);
    else
        head = 0;
    tail = len - head - body;
    plain(dst, src, head, step);
    if (around)
        store_blocks(method, dst + head, step ? src + head : src, body, step);
    plain(dst + head + body, step ? src + head + body : src, tail, step);

    if (!cache_chosen.method[HAL_CACHE_PERSIST]) {
        CACHE_FENCE(FENCE_FULL);
        return fail_unsupported(HAL_CACHE_PERSIST);
    }
    if (!around || !method->bypass) {
        lines(HAL_CACHE_PERSIST, dst, len);
    } else {
        if (head)
            lines(HAL_CACHE_PERSIST, dst, head);
        if (tail)
            lines(HAL_CACHE_PERSIST, dst + head + body, tail);
    }
    fence(HAL_CACHE_PERSIST);
    return outcome(HAL_CACHE_PERSIST);
}

int hal_copy_nt(void *dst, const void *src, size_t len)
{
    uintptr_t to = (uintptr_t)dst, from = (uintptr_t)src;

    if (!len)
        return 0;
    if (!sound(dst, len) || !sound(src, len))
        return fail_range(HAL_CACHE_COPY, sound(dst, len) ? src : dst, len);
    if (to - from < len || from - to < len) {
        int err = hal_fail_plain(-EINVAL, "copy", "memory", "%zu bytes from %p to %p overlap", len,
                                 src, dst);
        return error_settle(err, "copy", "memory");
    }
    return store(HAL_CACHE_COPY, dst, src, len, cache_chosen.cpu.block);
}

int hal_fill_nt(void *dst, int byte, size_t len)
{
    char pattern[64];

    if (!len)
        return 0;
    if (!sound(dst, len))
        return fail_range(HAL_CACHE_FILL, dst, len);
    memset(pattern, byte, sizeof(pattern));
    return store(HAL_CACHE_FILL, dst, pattern, len, 0);
}

/* ---- fences ---- */

void hal_fence_store(void)
{
    CACHE_FENCE(FENCE_STORE);
}

void hal_fence_load(void)
{
    CACHE_FENCE(FENCE_LOAD);
}

void hal_fence_full(void)
{
    CACHE_FENCE(FENCE_FULL);
}

/* ---- what is in use ---- */

size_t hal_cache_line(void)
{
    return cache_chosen.cpu.line;
}

static void alternatives(char *out, size_t size, enum hal_cache_op op)
{
    size_t used = 0;

    out[0] = 0;
    for (size_t i = 0; i < cache_method_count && used < size; i++) {
        const struct cache_method *method = &cache_methods[i];

        if (method->ops & 1u << op && method != cache_chosen.method[op] &&
            available(method, &cache_chosen.cpu))
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "", method->name);
    }
}

static void describe(struct hal_cache_choice *out, enum hal_cache_op op)
{
    static const char *const fences[] = {FENCE_STORE, FENCE_LOAD, FENCE_FULL};
    const struct cache_method *method = cache_chosen.method[op];

    if (op >= HAL_CACHE_FENCE_STORE) {
        out->instruction = fences[op - HAL_CACHE_FENCE_STORE];
        out->reason = "part of the architecture";
        return;
    }
    if (method)
        out->instruction = method->name;
    if (cache_chosen.asked & 1u << op)
        out->reason = method ? "asked for by HAL_CACHE" : "HAL_CACHE asks for none";
    else if (method)
        out->reason = op == HAL_CACHE_PERSIST && method->weak ? method->weak : method->fact;
    else
        out->reason = cache_missing;
    alternatives(out->alternatives, sizeof(out->alternatives), op);
}

COLD int hal_cache_info(struct hal_cache_info *out, size_t size)
{
    struct hal_cache_info info = {
        .architecture = cache_architecture,
        .requested = cache_chosen.requested[0] ? cache_chosen.requested : NULL,
        .refused = cache_chosen.refused[0] ? cache_chosen.refused : NULL,
        .line = cache_chosen.cpu.line,
    };

    if (!out || !size) {
        int err = hal_fail(out ? -EINVAL : -EFAULT, "cache info", NULL,
                           "the structure has no room, or is NULL");
        return error_settle(err, "cache info", NULL);
    }
    for (int op = 0; op < HAL_CACHE_OPS; op++)
        describe(&info.choices[op], (enum hal_cache_op)op);
    memset(out, 0, size);
    memcpy(out, &info, size < sizeof(info) ? size : sizeof(info));
    return 0;
}
