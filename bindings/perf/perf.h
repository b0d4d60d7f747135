/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hal._perf: the loops that hal.perf times, and the processor's counters.
 *
 * Plain declarations: cffi reads this file as well, without its preprocessor lines.
 *
 * A line is 64 bytes here, whatever the processor's is, so that figures of machines compare. A
 * block is a power of two of them. The random order is a permutation of a block's lines with one
 * cycle: a linear congruential generator of full period (Hull and Dobell 1962), its low half mixed
 * with its high half. Nothing is stored to follow it, so memory that must not be written is
 * measured as well.
 */
#ifndef HAL_PERF_H
#define HAL_PERF_H

#include <stddef.h>
#include <stdint.h>

enum perf_pattern {
    PERF_TOUCH = 0,         /* one load a page, in order: has the pages mapped */
    PERF_TOUCH_WRITE,       /* an atomic "or 0" a page: has them made; contents stay */
    PERF_READ,              /* whole lines, in order */
    PERF_READ_RANDOM,       /* whole lines, random order, no load waits for another */
    PERF_READ_RANDOM_AHEAD, /* the same, with hal_prefetch_read() 16 lines ahead */
    PERF_READ_RANDOM_SKEW,  /* the same as READ_RANDOM, each 8 bytes off: two lines a record */
    PERF_CHASE,             /* one load a line, random order, each waits for the load before */
    PERF_CHASE_8,           /* eight such chains at a time */
    PERF_WRITE,             /* whole lines, in order; every write leaves the byte 0xA5 */
    PERF_WRITE_RANDOM,
    PERF_WRITE_NT,    /* hal_fill_nt() */
    PERF_COPY_OUT,    /* from the block to `other` */
    PERF_COPY_IN,     /* from `other` to the block */
    PERF_COPY_IN_NT,  /* the same by hal_copy_nt() */
    PERF_FLUSH_LINES, /* store a line, write it back, fence; the next */
    PERF_FLUSH_RANGE, /* store 64 KiB, write them back, one fence */
    PERF_LOAD,        /* device memory, in order, each access `width` bytes */
    PERF_STORE,       /* the same; ends with a load, so that posted stores have arrived */
    PERF_PATTERNS
};

/* What to run. */
struct perf_task {
    int pattern;       /* enum perf_pattern */
    unsigned threads;  /* each has a part of the block, a power of two of lines */
    void *block;       /* a multiple of 8 */
    size_t size;       /* bytes; a power of two, at least 64 */
    void *other;       /* for copies */
    size_t other_size; /* a power of two, at most `size` */
    unsigned width;    /* device memory: every access is one of 4 or 8 bytes; 0: memory */
    int warm;          /* read the block before, once, at most for `budget` */
    uint64_t budget;   /* nanoseconds to run for */
    uint64_t limit;    /* lines a thread after which it is enough; 0: no limit */
    uint64_t position; /* where to go on; then where it ended */
};

/* What it did. */
struct perf_result {
    uint64_t lines;       /* of all threads */
    uint64_t nanoseconds; /* mean of the threads; of one thread, those it had a processor */
    double rate;          /* lines per second, the sum over threads */
    double share;         /* part of the time that they had a processor, mean */
};

/* Run. 0 or a negative errno: -EINVAL, -EAGAIN (no thread to be had), -EOPNOTSUPP (the processor
 * lacks the instruction). The GIL is not held. */
int perf_run(struct perf_task *task, struct perf_result *result);

/* The next `count` lines of the random order of a block of `lines` lines; from and to *position. */
void perf_order(uint64_t lines, uint64_t *position, size_t count, uint64_t *out);

/* perf_event_open(2) for the calling thread and those it makes (cpu -1), or for a processor. Counts
 * user space alone for a thread, everything for a processor. Descriptor or a negative errno. */
int perf_open_counter(uint32_t type, const uint64_t config[3], int cpu);

/* The same for samples of the calling thread, one in `period`, with weight and data source. */
int perf_open_samples(uint32_t type, const uint64_t config[3], uint64_t period);

#endif
