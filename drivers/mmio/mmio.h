/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the mmio driver share. */
#ifndef MMIO_H
#define MMIO_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

/* Where the registers are and what is known of them: filled in by one of the sources. */
struct region {
    char path[PATH_MAX];           /* what is mmap(2)ed */
    char combining_path[PATH_MAX]; /* the same with write-combining; "" when there is none */
    uint64_t start;                /* offset in the file */
    uint64_t size;                 /* bytes */
    bool whole; /* the offset in the file chooses the region: map all of it or nothing */
    bool prefetchable;
    char what[96]; /* "PCI 8086:100e BAR 0", for messages and attributes */
};

/* sources.c: fill in the region that the address names. 0 or a negative errno with message. */
int find_region(struct hal_device *dev, bool force, bool enable, struct region *out);

#endif
