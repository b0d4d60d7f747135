/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio: registers in memory, accessed with exactly the width asked for.
 *
 *     mmio:0000:00:04.0/0?enable=true      BAR 0 of a PCI device
 *     mmio:uio0/0                          map 0 of a UIO device
 *     mmio:0xfe000000+0x1000               physical memory, where /dev/mem allows it
 *     mmio:/dev/shm/registers              a file, as a stand-in; nodes as /dev/gpiomem+0x1000
 *
 * The region is mapped when the device is opened; every access is one load or store of the
 * processor, so nothing here waits, and nothing is cached.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access.h"
#include "mmio.h"

struct mmio {
    struct region region;
    struct hal_mapping all;
    volatile uint8_t *registers; /* byte 0 of the region */
    bool swap;                   /* the device's byte order is not ours */
    bool read_only;
};

static struct mmio *mmio_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- bounds ------------------------------------------------------------------------------------
 */

static int check_range(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    const struct mmio *mmio = mmio_of(dev);

    if (offset <= mmio->region.size && len <= mmio->region.size - offset)
        return 0;
    return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                          "offset 0x%" PRIx64 " + %zu is beyond the 0x%" PRIx64 " bytes of %s",
                          offset, len, mmio->region.size, mmio->region.what);
}

static int check_writable(struct hal_device *dev, const char *operation)
{
    return mmio_of(dev)->read_only
               ? hal_fail(-EACCES, operation, hal_device_uri(dev), "opened with read_only=true")
               : 0;
}

/* ---- registers and blocks ----------------------------------------------------------------------
 */

static int mmio_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    const struct mmio *mmio = mmio_of(dev);
    int err = check_range(dev, "load", offset, width);

    if (err)
        return err;
    *value = load_once(mmio->registers + offset, width, mmio->swap);
    return 0;
}

static int mmio_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    const struct mmio *mmio = mmio_of(dev);
    int err = check_range(dev, "store", offset, width);

    if (!err)
        err = check_writable(dev, "store");
    if (err)
        return err;
    store_once(mmio->registers + offset, width, value, mmio->swap);
    return 0;
}

static ssize_t mmio_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                            hal_deadline until)
{
    const struct mmio *mmio = mmio_of(dev);
    int err = check_range(dev, "read", offset, 1);

    (void)until;
    if (err)
        return err;
    if (len > mmio->region.size - offset)
        len = (size_t)(mmio->region.size - offset);
    read_block(buf, mmio->registers, offset, len);
    return (ssize_t)len;
}

static ssize_t mmio_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                             hal_deadline until)
{
    const struct mmio *mmio = mmio_of(dev);
    int err = check_range(dev, "write", offset, 1);

    (void)until;
    if (!err)
        err = check_writable(dev, "write");
    if (err)
        return err;
    if (len > mmio->region.size - offset)
        len = (size_t)(mmio->region.size - offset);
    write_block(mmio->registers, offset, buf, len);
    return (ssize_t)len;
}

static ssize_t mmio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev),
                    "registers have offsets: use hal_load() or hal_read_at()");
}

static ssize_t mmio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "registers have offsets: use hal_store() or hal_write_at()");
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

static int explain_map(int err, const char *path, size_t length)
{
    if (err != -EPERM && err != -EINVAL)
        return hal_fail(err, "map", path, "%zu bytes", length);
    return hal_fail(err, "map", path,
                    "%zu bytes; the kernel protects it: ordinary memory (CONFIG_STRICT_DEVMEM), "
                    "registers that a driver claims (CONFIG_IO_STRICT_DEVMEM), or lockdown",
                    length);
}

/* mmap(2) the part of a region that `mapping` names: whole pages around it. */
static int map_part(const struct region *region, const char *path, int protection,
                    struct hal_mapping *mapping)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t start = region->start + mapping->offset;
    uint64_t first = (region->whole ? region->start : start) & ~(page - 1);
    int fd = hal_open_node(path, (protection & PROT_WRITE ? O_RDWR : O_RDONLY) | O_SYNC), err = 0;
    void *base;

    if (fd < 0)
        return fd;
    mapping->base_length = (size_t)(((start + mapping->length + page - 1) & ~(page - 1)) - first);
    base = mmap(NULL, mapping->base_length, protection, MAP_SHARED, fd, (off_t)first);
    if (base == MAP_FAILED)
        err = explain_map(-errno, path, mapping->base_length);
    if (!err) {
        mapping->base = base;
        mapping->address = (uint8_t *)base + (start - first);
    }
    close(fd);
    return err;
}

static int mmio_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    const struct mmio *mmio = mmio_of(dev);
    const struct region *region = &mmio->region;
    bool combine = mapping->flags & HAL_MAP_WRITE_COMBINE;
    int protection = (mapping->flags & HAL_MAP_READ ? PROT_READ : 0) |
                     (mapping->flags & HAL_MAP_WRITE ? PROT_WRITE : 0);
    int err = check_range(dev, "map", mapping->offset, mapping->length ? mapping->length : 1);

    if (!err && mapping->flags & HAL_MAP_WRITE)
        err = check_writable(dev, "map");
    if (err)
        return err;
    if (mapping->flags & HAL_MAP_SYNC)
        return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev), "registers are not persistent");
    if (combine && !*region->combining_path)
        return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev),
                        "%s is not prefetchable: no write-combining", region->what);
    if (!mapping->length)
        mapping->length = (size_t)(region->size - mapping->offset);
    return map_part(region, combine ? region->combining_path : region->path, protection, mapping);
}

/* ---- attributes --------------------------------------------------------------------------------
 */

static int get_size(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)mmio_of(dev)->region.size;
    return 0;
}

static int get_prefetchable(struct hal_device *dev, const struct hal_attribute *attr,
                            struct hal_value *out)
{
    (void)attr;
    out->b = mmio_of(dev)->region.prefetchable;
    return 0;
}

static int get_what(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, mmio_of(dev)->region.what);
    return 0;
}

static const char *const byte_orders[] = {"native", "little", "big", NULL};

static const struct hal_attribute attributes[] = {
    {.name = "byte_order",
     .doc = "Of the registers; load and store swap where it is not the machine's.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN,
     .choices = byte_orders,
     .initial = "native"},
    {.name = "enable",
     .doc = "Enable a PCI device that is disabled.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "force",
     .doc = "Open even though a kernel driver uses the device.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "read_only",
     .doc = "Refuse every store.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "size",
     .unit = "B",
     .doc = "Of the region.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_size},
    {.name = "prefetchable",
     .doc = "Reads have no side effects; it may be mapped write-combining.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ,
     .get = get_prefetchable},
    {.name = "what",
     .doc = "Where the registers are.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_what},
};

/* ---- opening -----------------------------------------------------------------------------------
 */

static bool option(const struct hal_device *dev, const char *name)
{
    struct hal_value value;

    return hal_device_option(dev, name, &value) >= 0 && value.b;
}

/* An offset that is a multiple of the width must be an address that is one. */
static int check_region(struct hal_device *dev, const struct region *region)
{
    if (region->start % 8)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "registers begin at a multiple of 8 bytes, not at 0x%" PRIx64,
                              region->start);
    if (!region->size || region->size > INT64_MAX - region->start)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "%" PRIu64 " bytes at 0x%" PRIx64, region->size, region->start);
    return 0;
}

static int mmio_init(struct hal_device *dev)
{
    struct mmio *mmio = calloc(1, sizeof(*mmio));
    int err;

    if (!mmio)
        return -ENOMEM;
    mmio->swap = must_swap(dev);
    mmio->read_only = option(dev, "read_only");
    err = find_region(dev, option(dev, "force"), option(dev, "enable"), &mmio->region);
    if (!err)
        err = check_region(dev, &mmio->region);
    mmio->all.length = (size_t)mmio->region.size;
    if (!err)
        err = map_part(&mmio->region, mmio->region.path,
                       mmio->read_only ? PROT_READ : PROT_READ | PROT_WRITE, &mmio->all);
    if (err) {
        free(mmio);
        return err;
    }
    mmio->registers = mmio->all.address;
    hal_device_set_state(dev, mmio);
    return 0;
}

static void mmio_fini(struct hal_device *dev)
{
    struct mmio *mmio = mmio_of(dev);

    hal_unmap(&mmio->all);
    free(mmio);
}

static const struct hal_match matches[] = {
    {"subsystem:pci", "{name}/{bar}", "the first memory BAR of a PCI function"},
};

static const struct driver_ops mmio_ops = {
    .init = mmio_init,
    .read = mmio_read,
    .write = mmio_write,
    .fini = mmio_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Registers in memory: PCI BARs, UIO maps, physical memory, files",
    .address = "PCI/BAR | uioN/MAP | 0xADDR+0xLEN | /FILE[+0xLEN]",
    .load = mmio_load,
    .store = mmio_store,
    .read_at = mmio_read_at,
    .write_at = mmio_write_at,
    .map = mmio_map,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("mmio", &mmio_ops, "0.1.0");
