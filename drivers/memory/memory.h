/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the memory driver share. */
#ifndef MEMORY_H
#define MEMORY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

enum kind { KIND_DEVDAX, KIND_FSDAX, KIND_FILE, KIND_SHM, KIND_MEMFD, KIND_BLOCK, KIND_BAR };

struct memory {
    enum kind kind;
    int fd;             /* the library's: it closes it; -1: none */
    hal_handle bar;     /* KIND_BAR: the mmio device it stands on; 0: none */
    uint64_t size;      /* bytes */
    uint64_t alignment; /* of mappings, bytes: a power of two */
    bool read_only;
    bool persistent;
    int64_t node;         /* NUMA node asked for; -1: none */
    uint8_t *base;        /* the driver's own mapping of all of it */
    size_t base_length;   /* size, up to the next multiple of the alignment */
    char path[PATH_MAX];  /* "/dev/dax0.0", "/mnt/pmem/file", "/dev/shm/name", "memfd:name" */
    char sysfs[PATH_MAX]; /* devdax, PCI: the device's folder; else "" */
};

/* source.c: open what the address names: fd (also set for the device), kind, size, alignment, path.
 * 0 or a negative errno with message. */
int find_memory(struct hal_device *dev, struct memory *out);
/* Take the room that the URI asks for now: a full disk is an error then, not a SIGBUS later. */
int reserve_memory(struct hal_device *dev, const struct memory *memory);

/* bar.c: memory in a PCI BAR, "0000:00:04.0/2". */
bool is_bar(const char *address);
int open_bar(struct hal_device *dev, struct memory *out, const char *address);
void close_bar(struct memory *memory);
ssize_t read_bar(const struct memory *memory, void *buf, size_t len, uint64_t offset);
ssize_t write_bar(const struct memory *memory, const void *buf, size_t len, uint64_t offset);
int map_bar(const struct memory *memory, uint64_t offset, size_t length, uint32_t flags,
            struct hal_mapping *out);

/* numa.c: have the pages of the driver's own mapping, and so of the object, on node `node`. */
int place_memory(struct hal_device *dev, const struct memory *memory);

/* facts.c: give a devdax device the attributes that sysfs has of it and of its CXL region. */
void set_dax_attributes(struct hal_device *dev);
/* A number in a sysfs file. 0 or a negative errno with message. */
int read_number(const char *folder, const char *file, int64_t *out);

bool option(const struct hal_device *dev, const char *name);
int64_t number_option(const struct hal_device *dev, const char *name);

#endif
