/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sound driver of 64 KiB of memory, in pieces: each broken driver beside it replaces one piece by
 * a faulty one, named after the check that must find it.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hal/driver.h>

#define PIECE __attribute__((unused)) static
#define SIZE 65536u
#define PAGE 4096u

struct memory {
    int fd;
    uint8_t *bytes;
};

PIECE struct memory *memory_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

PIECE int memory_init(struct hal_device *dev)
{
    struct memory *memory = calloc(1, sizeof(*memory));

    if (!memory)
        return -ENOMEM;
    memory->fd = memfd_create("memory", MFD_CLOEXEC);
    if (memory->fd < 0 || ftruncate(memory->fd, SIZE))
        return -errno;
    memory->bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    hal_device_set_state(dev, memory);
    return 0;
}

PIECE void memory_fini(struct hal_device *dev)
{
    munmap(memory_of(dev)->bytes, SIZE);
    close(memory_of(dev)->fd);
    free(memory_of(dev));
}

PIECE ssize_t memory_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev), "no stream");
}

PIECE ssize_t memory_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev), "no stream");
}

PIECE bool memory_within(uint64_t offset, uint64_t len)
{
    return offset <= SIZE && len <= SIZE - offset;
}

PIECE int memory_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    if (!memory_within(offset, width))
        return -ERANGE;
    *value = 0;
    memcpy(value, memory_of(dev)->bytes + offset, width); /* little-endian machines only */
    return 0;
}

PIECE int memory_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    if (!memory_within(offset, width))
        return -ERANGE;
    memcpy(memory_of(dev)->bytes + offset, &value, width);
    return 0;
}

PIECE size_t memory_cut(uint64_t offset, size_t len)
{
    return len < SIZE - offset ? len : (size_t)(SIZE - offset);
}

PIECE ssize_t memory_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                             hal_deadline until)
{
    (void)until;
    if (!memory_within(offset, 1))
        return -ERANGE;
    len = memory_cut(offset, len);
    memcpy(buf, memory_of(dev)->bytes + offset, len);
    return (ssize_t)len;
}

PIECE ssize_t memory_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                              hal_deadline until)
{
    (void)until;
    if (!memory_within(offset, 1))
        return -ERANGE;
    len = memory_cut(offset, len);
    memcpy(memory_of(dev)->bytes + offset, buf, len);
    return (ssize_t)len;
}

PIECE int memory_protection(const struct hal_mapping *mapping)
{
    return (mapping->flags & HAL_MAP_READ ? PROT_READ : 0) |
           (mapping->flags & HAL_MAP_WRITE ? PROT_WRITE : 0);
}

/* All pages of it, whatever part is asked for. */
PIECE int memory_map_as(struct hal_device *dev, struct hal_mapping *mapping, int protection)
{
    if (!mapping->length)
        mapping->length = SIZE - mapping->offset;
    mapping->base_length = SIZE;
    mapping->base = mmap(NULL, SIZE, protection, MAP_SHARED, memory_of(dev)->fd, 0);
    if (mapping->base == MAP_FAILED)
        return -errno;
    mapping->address = (uint8_t *)mapping->base + mapping->offset;
    return 0;
}

PIECE int memory_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    if (!memory_within(mapping->offset, mapping->length ? mapping->length : 1))
        return -ERANGE;
    return memory_map_as(dev, mapping, memory_protection(mapping));
}

/* A piece named again after this takes the place of the sound one. */
#pragma GCC diagnostic ignored "-Woverride-init"
#define MEMORY_OPS                                                                                 \
    .init = memory_init, .fini = memory_fini, .read = memory_read, .write = memory_write,          \
    .load = memory_load, .store = memory_store, .read_at = memory_read_at,                         \
    .write_at = memory_write_at, .map = memory_map

#endif
