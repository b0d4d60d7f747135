/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the memory driver share. */
#ifndef MEMORY_H
#define MEMORY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

enum kind { KIND_DEVDAX, KIND_FSDAX, KIND_FILE, KIND_SHM, KIND_MEMFD, KIND_BLOCK };

struct memory {
    enum kind kind;
    int fd;             /* the library's: it closes it */
    uint64_t size;      /* bytes */
    uint64_t alignment; /* of mappings, bytes: a power of two */
    bool read_only;
    bool persistent;
    int64_t node;         /* NUMA node asked for; -1: none */
    uint8_t *base;        /* the driver's own mapping of all of it */
    size_t base_length;   /* size, up to the next multiple of the alignment */
    char path[PATH_MAX];  /* "/dev/dax0.0", "/mnt/pmem/file", "/dev/shm/name", "memfd:name" */
    char sysfs[PATH_MAX]; /* devdax: its folder, links resolved; else "" */
};

/* source.c: open what the address names: fd (also set for the device), kind, size, alignment, path.
 * 0 or a negative errno with message. */
int find_memory(struct hal_device *dev, struct memory *out);
/* Take the room that the URI asks for now: a full disk is an error then, not a SIGBUS later. */
int reserve_memory(struct hal_device *dev, const struct memory *memory);

/* numa.c: have the pages of the driver's own mapping, and so of the object, on node `node`. */
int place_memory(struct hal_device *dev, const struct memory *memory);

/* facts.c: give a devdax device the attributes that sysfs has of it and of its CXL region. */
void set_dax_attributes(struct hal_device *dev);
/* A number in a sysfs file. 0 or a negative errno with message. */
int read_number(const char *folder, const char *file, int64_t *out);

bool option(const struct hal_device *dev, const char *name);
int64_t number_option(const struct hal_device *dev, const char *name);

#endif
