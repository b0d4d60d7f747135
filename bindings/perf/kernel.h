/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAL_PERF_KERNEL_H
#define HAL_PERF_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define LINE ((size_t)64)

/* A thread on its way through its part of a block. */
struct walk {
    char *block;
    char *other;
    uint64_t lines;
    uint64_t row;      /* lines after which something begins again: the block, or `other` */
    uint64_t position; /* line to do next; in random order the generator's state */
    unsigned width;
};

/* Do `count` lines. In order: from `position` on, not beyond a row, and `position` is moved by the
 * caller. In random order: `position` is moved here. 0 or a negative errno. */
typedef int (*kernel)(struct walk *walk, size_t count);

struct pattern {
    kernel run;
    int random;
};

/* What a pattern does with memory, or with device memory (`width` not 0); run is NULL: nothing. */
struct pattern kernel_of(int pattern, unsigned width);

#endif
