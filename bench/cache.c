/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache operations against libpmem and against the naive form, as JSON.
 *
 *     cc -O2 bench/cache.c $(pkg-config --cflags --libs hal) -ldl -o cache
 *     cache [ROUNDS]
 *
 * Contenders take turns within each round, so that whatever else the machine does hits both alike;
 * figures are medians over the rounds. Every timed operation is followed by reading its range
 * again, one load a line: a write-back that goes on after the fence is paid for there ("read": a
 * row without it compares the operations alone). The memory is ordinary memory, the same for both.
 *
 * libpmem writes back where the processor can (CLWB), which leaves the lines in the cache. So its
 * pmem_flush is compared with hal_cache_persist, and once more, told not to use CLWB, with
 * hal_cache_flush. "ratio" is the median of the rounds' own ratios, ours to theirs.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hal/cache.h>
#include <hal/deadline.h>

#define AREA ((size_t)16 << 20)
#define PIECES_MAX 64 /* operations timed at once, where one alone is too short for the clock */
#define BATCH_BYTES ((size_t)65536)
#define ROUNDS_MAX 999

static char *area, *source;
static size_t line;

static struct {
    void (*flush)(const void *, size_t);
    void (*drain)(void);
    void *(*copy)(void *, const void *, size_t, unsigned);
    const char *missing;
} pmem;

static void load_libpmem(void)
{
    void *library = dlopen("libpmem.so.1", RTLD_NOW);

    if (!library) {
        pmem.missing = dlerror();
        return;
    }
    *(void **)&pmem.flush = dlsym(library, "pmem_flush");
    *(void **)&pmem.drain = dlsym(library, "pmem_drain");
    *(void **)&pmem.copy = dlsym(library, "pmem_memcpy");
    if (!pmem.flush || !pmem.drain || !pmem.copy)
        pmem.missing = "libpmem.so.1 lacks pmem_flush, pmem_drain or pmem_memcpy";
}

/* ---- contenders: one operation on one range ---- */

static void hal_persist(char *p, size_t len)
{
    (void)hal_cache_persist(p, len);
}

static void hal_flush_store(char *p, size_t len)
{
    (void)hal_cache_flush(p, len);
    hal_fence_store();
}

static void hal_sync(char *p, size_t len)
{
    (void)hal_cxl_sync(p, len);
}

/* What textbooks show: flush a line, wait for it, go on to the next. */
static void naive(char *p, size_t len)
{
    for (char *end = p + len; p < end; p += line) {
#if defined(__x86_64__)
        __asm__ volatile("clflush (%0)\n\tmfence" : : "r"(p) : "memory");
#elif defined(__aarch64__)
        __asm__ volatile("dc civac, %0\n\tdsb sy" : : "r"(p) : "memory");
#else
        (void)hal_cxl_sync(p, line);
#endif
    }
}

static void pmem_persist(char *p, size_t len)
{
    pmem.flush(p, len);
    pmem.drain();
}

static void hal_copy(char *p, size_t len)
{
    (void)hal_copy_nt(p, source + (p - area), len);
}

static void pmem_copy(char *p, size_t len)
{
    pmem.copy(p, source + (p - area), len, 0);
}

/* ---- one duel ---- */

enum {
    ALONE = 1,  /* without the reading */
    PMEM = 2,   /* against libpmem */
    NO_CLWB = 4 /* which is told to flush */
};

struct duel {
    const char *name;
    const char *ours, *theirs;
    void (*our)(char *, size_t);
    void (*their)(char *, size_t);
    size_t only; /* this size alone; 0: all */
    int flags;
};

static const struct duel duels[] = {
    {"persist", "hal_cache_persist", "pmem_flush + pmem_drain", hal_persist, pmem_persist, 0, PMEM},
    {"flush", "hal_cache_flush + hal_fence_store", "pmem_flush + pmem_drain, PMEM_NO_CLWB=1",
     hal_flush_store, pmem_persist, 0, PMEM | NO_CLWB},
    {"copy", "hal_copy_nt", "pmem_memcpy", hal_copy, pmem_copy, 0, PMEM},
    {"naive", "hal_cache_persist", "flush and fence, line by line", hal_persist, naive, 65536, 0},
    {"naive", "hal_cxl_sync", "flush and fence, line by line", hal_sync, naive, 65536, 0},
    {"naive", "hal_cxl_sync", "flush and fence, line by line", hal_sync, naive, 65536, ALONE},
};

static const size_t sizes[] = {64, 256, 1024, 4096, 16384, 65536, 1 << 20, 16 << 20};

static void soil(size_t bytes)
{
    for (size_t i = 0; i < bytes; i += line)
        *(volatile char *)(area + i) += 1;
}

/* Nanoseconds of one operation with the reading after it. */
static double time_one(void (*operation)(char *, size_t), size_t size, int flags)
{
    size_t pieces = BATCH_BYTES / size;
    int64_t begin, end;

    pieces = pieces > PIECES_MAX ? PIECES_MAX : pieces ? pieces : 1;
    soil(size * pieces);
    hal_fence_full();
    begin = hal_now();
    for (size_t i = 0; i < pieces; i++) {
        operation(area + i * size, size);
        for (size_t k = 0; k < size && !(flags & ALONE); k += line)
            (void)*(volatile char *)(area + i * size + k);
    }
    hal_fence_full();
    end = hal_now();
    return (double)(end - begin) / (double)pieces;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static void fight(const struct duel *d, size_t size, size_t rounds, const char *separator)
{
    static double ours[ROUNDS_MAX], theirs[ROUNDS_MAX], ratios[ROUNDS_MAX];

    for (size_t i = 0; i < rounds; i++) {
        if (i % 2)
            theirs[i] = time_one(d->their, size, d->flags);
        ours[i] = time_one(d->our, size, d->flags);
        if (!(i % 2))
            theirs[i] = time_one(d->their, size, d->flags);
        ratios[i] = ours[i] / theirs[i];
    }
    qsort(ours, rounds, sizeof(ours[0]), compare);
    qsort(theirs, rounds, sizeof(theirs[0]), compare);
    qsort(ratios, rounds, sizeof(ratios[0]), compare); /* what slows the machine slows both */
    printf("%s\n    {\"name\": \"%s\", \"bytes\": %zu, \"ours\": \"%s\", \"theirs\": \"%s\", "
           "\"read\": %s, \"ours_ns\": %.1f, \"theirs_ns\": %.1f, \"ratio\": %.4f, "
           "\"quartiles\": [%.4f, %.4f]}",
           separator, d->name, size, d->ours, d->theirs, d->flags & ALONE ? "false" : "true",
           ours[rounds / 2], theirs[rounds / 2], ratios[rounds / 2], ratios[rounds / 4],
           ratios[rounds * 3 / 4]);
    fflush(stdout);
}

/* libpmem reads its environment once, so each duel has a process of its own. */
static int hold(const struct duel *d, size_t rounds, const char *separator)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child < 0)
        return 1;
    if (child) {
        waitpid(child, &status, 0);
        return status;
    }
    if (d->flags & NO_CLWB)
        setenv("PMEM_NO_CLWB", "1", 1);
    load_libpmem();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (d->only && d->only != sizes[i])
            continue;
        fight(d, sizes[i], rounds, separator);
        separator = ",";
    }
    _exit(0);
}

static char *map_area(void)
{
    char *p =
        mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memset(p, 1, AREA);
    return p;
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 31;
    static struct hal_cache_info info;
    const char *separator = "";
    int no_pmem = 0;

    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: %s [ROUNDS], 1 .. %d\n", argv[0], ROUNDS_MAX);
        return 2;
    }
    hal_cache_info(&info, sizeof(info));
    line = hal_cache_line();
    area = map_area();
    source = map_area();

    if (!fork()) { /* see whether it is there, without having it in this process */
        load_libpmem();
        _exit(pmem.missing != NULL);
    }
    wait(&no_pmem);

    printf("{\"bench\": \"cache\", \"architecture\": \"%s\", \"line\": %zu, \"rounds\": %zu,\n"
           " \"libpmem\": %s, \"instructions\": {",
           info.architecture, line, rounds,
           no_pmem ? "\"not measured: libpmem.so.1 cannot be loaded (apt install libpmem1)\""
                   : "true");
    for (int op = 0; op < HAL_CACHE_OPS; op++)
        printf("%s\"%s\": \"%s\"", op ? ", " : "", hal_cache_op_name((enum hal_cache_op)op),
               info.choices[op].instruction ? info.choices[op].instruction : "none");
    printf("},\n  \"results\": [");
    for (size_t d = 0; d < sizeof(duels) / sizeof(duels[0]); d++) {
        if (duels[d].flags & PMEM && no_pmem)
            continue;
        if (hold(&duels[d], rounds, separator))
            return 1;
        separator = ",";
    }
    printf("\n  ]}\n");
    return 0;
}
