/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of a function: BARs, configuration space, the ROM. What the kernel lets user space map is
 * mapped when the device is opened; the rest (configuration space, I/O ports, a BAR's page that
 * holds the MSI-X table, where the kernel guards it) is read and written through it.
 * Source: include/uapi/linux/vfio.h (VFIO_DEVICE_GET_REGION_INFO); PCI 3.0, 6.2.5. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../mmio/access.h"
#include "vfio.h"

#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_BAR0 0x10
#define PCI_BAR_IO 0x1u
#define PCI_BAR_PREFETCHABLE 0x8u

/* ---- bounds ------------------------------------------------------------------------------------
 */

static int check_range(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    const struct region *region = &vfio_of(dev)->region;

    if (offset <= region->size && len <= region->size - offset)
        return 0;
    return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                          "offset 0x%" PRIx64 " + %zu is beyond the 0x%" PRIx64 " bytes of %s",
                          offset, len, region->size, region->what);
}

static int check_writable(struct hal_device *dev, const char *operation)
{
    const struct region *region = &vfio_of(dev)->region;

    return region->flags & VFIO_REGION_INFO_FLAG_WRITE
               ? 0
               : hal_fail(-EACCES, operation, hal_device_uri(dev), "%s is read-only", region->what);
}

/* The mapped area that holds all of a range, if one does. */
static const struct area *area_of(const struct region *region, uint64_t offset, size_t len)
{
    for (unsigned i = 0; i < region->area_count; i++) {
        const struct area *area = &region->areas[i];
        if (offset >= area->offset && offset - area->offset <= area->size &&
            len <= area->size - (offset - area->offset))
            return area;
    }
    return NULL;
}

/* ---- through the kernel ------------------------------------------------------------------------
 */

static ssize_t pass(struct hal_device *dev, const char *operation, void *buf, size_t len,
                    uint64_t offset, bool write)
{
    const struct vfio *vfio = vfio_of(dev);
    off_t at = (off_t)(vfio->region.start + offset);
    ssize_t n =
        write ? pwrite(vfio->function->fd, buf, len, at) : pread(vfio->function->fd, buf, len, at);

    if (n > 0)
        return n;
    return hal_fail(n < 0 ? -errno : -EIO, operation, hal_device_uri(dev),
                    "offset 0x%" PRIx64 " + %zu of %s%s", offset, len, vfio->region.what,
                    n < 0 && errno == EIO ? " (is the device off, or its memory disabled?)" : "");
}

/* The kernel takes 8 bytes apart, or does not, as its version is. */
static int check_width(struct hal_device *dev, const char *operation, unsigned width)
{
    return width <= 4 ? 0
                      : hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                                 "%s is accessed through the kernel, 4 bytes at most at once",
                                 vfio_of(dev)->region.what);
}

static int pass_register(struct hal_device *dev, const char *operation, uint64_t offset,
                         unsigned width, uint64_t *value, bool write)
{
    bool swap = vfio_of(dev)->region.swap;
    uint8_t bytes[8] = {0};
    ssize_t n;
    int err = check_width(dev, operation, width);

    if (err)
        return err;
    if (write)
        store_relaxed(bytes, width, *value, swap);
    n = pass(dev, operation, bytes, width, offset, write);
    if (n < 0)
        return (int)n;
    if (n != (ssize_t)width)
        return hal_fail(-EIO, operation, hal_device_uri(dev), "%zd of %u bytes", n, width);
    if (!write)
        *value = load_relaxed(bytes, width, swap);
    return 0;
}

/* ---- registers ---------------------------------------------------------------------------------
 */

int vfio_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    const struct region *region = &vfio_of(dev)->region;
    const struct area *area = area_of(region, offset, width);
    int err;

    if (area) {
        *value = load_once(area->base + (offset - area->offset), width, region->swap);
        return 0;
    }
    err = check_range(dev, "load", offset, width);
    return err ? err : pass_register(dev, "load", offset, width, value, false);
}

int vfio_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    const struct region *region = &vfio_of(dev)->region;
    const struct area *area = area_of(region, offset, width);
    int err = check_writable(dev, "store");

    if (err)
        return err;
    if (area) {
        store_once(area->base + (offset - area->offset), width, value, region->swap);
        return 0;
    }
    err = check_range(dev, "store", offset, width);
    return err ? err : pass_register(dev, "store", offset, width, &value, true);
}

/* ---- blocks ------------------------------------------------------------------------------------
 */

ssize_t vfio_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                     hal_deadline until)
{
    const struct region *region = &vfio_of(dev)->region;
    const struct area *area;
    int err = check_range(dev, "read", offset, 1);

    (void)until;
    if (err)
        return err;
    if (len > region->size - offset)
        len = (size_t)(region->size - offset);
    area = area_of(region, offset, len);
    if (!area)
        return pass(dev, "read", buf, len, offset, false);
    read_block(buf, area->base, offset - area->offset, len);
    return (ssize_t)len;
}

ssize_t vfio_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                      hal_deadline until)
{
    const struct region *region = &vfio_of(dev)->region;
    const struct area *area;
    int err = check_range(dev, "write", offset, 1);

    (void)until;
    if (!err)
        err = check_writable(dev, "write");
    if (err)
        return err;
    if (len > region->size - offset)
        len = (size_t)(region->size - offset);
    area = area_of(region, offset, len);
    if (!area)
        return pass(dev, "write", (void *)(uintptr_t)buf, len, offset, true);
    write_block(area->base, offset - area->offset, buf, len);
    return (ssize_t)len;
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

static int explain_unmappable(struct hal_device *dev, const struct hal_mapping *mapping)
{
    const struct region *region = &vfio_of(dev)->region;
    char areas[AREAS_MAX * 48] = "";
    size_t length = 0;

    for (unsigned i = 0; i < region->area_count; i++)
        length +=
            (size_t)snprintf(areas + length, sizeof(areas) - length, "%s0x%" PRIx64 "+0x%" PRIx64,
                             i ? ", " : "", region->areas[i].offset, region->areas[i].size);
    return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev),
                    "0x%" PRIx64 " + %zu of %s; the kernel lets be mapped: %s; load, store, "
                    "read_at and write_at reach all of it",
                    mapping->offset, mapping->length, region->what, *areas ? areas : "nothing");
}

static int map_part(struct hal_device *dev, struct hal_mapping *mapping)
{
    const struct vfio *vfio = vfio_of(dev);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = mapping->offset & ~(page - 1);
    int protection = (mapping->flags & HAL_MAP_READ ? PROT_READ : 0) |
                     (mapping->flags & HAL_MAP_WRITE ? PROT_WRITE : 0);
    void *base;

    mapping->base_length =
        (size_t)(((mapping->offset + mapping->length + page - 1) & ~(page - 1)) - first);
    base = mmap(NULL, mapping->base_length, protection, MAP_SHARED, vfio->function->fd,
                (off_t)(vfio->region.start + first));
    if (base == MAP_FAILED)
        return hal_fail(-errno, "map", hal_device_uri(dev), "%zu bytes", mapping->base_length);
    mapping->base = base;
    mapping->address = (uint8_t *)base + (mapping->offset - first);
    return 0;
}

int vfio_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    const struct region *region = &vfio_of(dev)->region;
    int err = check_range(dev, "map", mapping->offset, mapping->length ? mapping->length : 1);

    if (!err && mapping->flags & HAL_MAP_WRITE)
        err = check_writable(dev, "map");
    if (err)
        return err;
    if (mapping->flags & (HAL_MAP_SYNC | HAL_MAP_WRITE_COMBINE))
        return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev),
                        "VFIO maps registers uncached: neither write-combining nor persistent");
    if (!mapping->length)
        mapping->length = (size_t)(region->size - mapping->offset);
    if (!area_of(region, mapping->offset, mapping->length))
        return explain_unmappable(dev, mapping);
    return map_part(dev, mapping);
}

/* ---- opening -----------------------------------------------------------------------------------
 */

/* The areas of the capability "sparse mmap" at a place in the kernel's answer. */
static void take_areas(const struct vfio_region_info *info, uint32_t at, uint32_t count,
                       struct region *region)
{
    struct vfio_region_sparse_mmap_area area;

    for (; count-- && at + sizeof(area) <= info->argsz && region->area_count < AREAS_MAX;
         at += (uint32_t)sizeof(area)) {
        memcpy(&area, (const uint8_t *)info + at, sizeof(area));
        if (area.size)
            region->areas[region->area_count++] =
                (struct area){.offset = area.offset, .size = area.size};
    }
}

/* What can be mapped: the areas that the kernel names in its list of capabilities, or the whole. */
static void find_areas(const struct vfio_region_info *info, struct region *region)
{
    uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;
    struct vfio_region_info_cap_sparse_mmap sparse;

    region->area_count = 0;
    if (!(info->flags & VFIO_REGION_INFO_FLAG_MMAP))
        return;
    for (; at && at + sizeof(sparse) <= info->argsz; at = sparse.header.next) {
        memcpy(&sparse, (const uint8_t *)info + at, sizeof(sparse));
        if (sparse.header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
            take_areas(info, at + (uint32_t)sizeof(sparse), sparse.nr_areas, region);
            return;
        }
    }
    region->areas[region->area_count++] = (struct area){.size = info->size};
}

static int ask(struct hal_device *dev, const struct function *function,
               struct vfio_region_info *info)
{
    unsigned index = info->index;

    if (!ioctl(function->fd, VFIO_DEVICE_GET_REGION_INFO, info))
        return 0;
    return errno == EINVAL
               ? hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "it has no region %u", index)
               : hal_fail(-errno, "open", hal_device_uri(dev), "facts about region %u", index);
}

/* Asked twice: at first the kernel says how much room its answer needs. */
static int read_info(struct hal_device *dev, const struct function *function, struct region *region)
{
    struct vfio_region_info first = {.argsz = sizeof(first), .index = region->index}, *info;
    int err = ask(dev, function, &first);

    if (err)
        return err;
    info = calloc(1, first.argsz);
    if (!info)
        return -ENOMEM;
    info->argsz = first.argsz;
    info->index = region->index;
    err = ask(dev, function, info);
    if (!err) {
        region->flags = info->flags;
        region->size = info->size;
        region->start = info->offset;
        find_areas(info, region);
    }
    free(info);
    return err;
}

static int map_areas(struct hal_device *dev, const struct function *function, struct region *region)
{
    int protection = (region->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
                     (region->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);

    for (unsigned i = 0; i < region->area_count; i++) {
        struct area *area = &region->areas[i];
        void *base = mmap(NULL, (size_t)area->size, protection, MAP_SHARED, function->fd,
                          (off_t)(region->start + area->offset));
        if (base == MAP_FAILED)
            return hal_fail(-errno, "open", hal_device_uri(dev), "map %" PRIu64 " bytes of %s",
                            area->size, region->what);
        area->base = base;
        madvise(base, (size_t)area->size, MADV_DONTFORK); /* a child would keep the device */
    }
    return 0;
}

void region_fini(struct region *region)
{
    for (unsigned i = 0; i < region->area_count; i++)
        if (region->areas[i].base)
            munmap((void *)(uintptr_t)region->areas[i].base, (size_t)region->areas[i].size);
}

/* Memory and I/O ports answer only when the command register says so. */
static int enable(struct hal_device *dev, const struct function *function, struct region *region)
{
    uint8_t bar;

    if (region->index > VFIO_PCI_BAR5_REGION_INDEX)
        return region->index == VFIO_PCI_ROM_REGION_INDEX
                   ? function_command(dev, function, PCI_COMMAND_MEMORY, true)
                   : 0;
    if (pread(function->fd, &bar, 1, (off_t)(function->config + PCI_BAR0 + 4 * region->index)) != 1)
        return hal_fail(-errno, "open", hal_device_uri(dev), "read BAR %u", region->index);
    region->prefetchable = !(bar & PCI_BAR_IO) && bar & PCI_BAR_PREFETCHABLE;
    return function_command(dev, function, bar & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY,
                            true);
}

static void describe(const struct place *place, struct region *region)
{
    char path[FOLDER_MAX + 16], vendor[16] = "?", device[16] = "?", name[24];

    snprintf(path, sizeof(path), "%s/vendor", place->folder);
    hal_node_read_text(path, vendor, sizeof(vendor));
    snprintf(path, sizeof(path), "%s/device", place->folder);
    hal_node_read_text(path, device, sizeof(device));
    if (region->index == VFIO_PCI_CONFIG_REGION_INDEX)
        strcpy(name, "configuration space");
    else if (region->index == VFIO_PCI_ROM_REGION_INDEX)
        strcpy(name, "ROM");
    else
        snprintf(name, sizeof(name), "%s %u",
                 region->index <= VFIO_PCI_BAR5_REGION_INDEX ? "BAR" : "region", region->index);
    snprintf(region->what, sizeof(region->what), "PCI %s:%s %s",
             vendor + 2 * !strncmp(vendor, "0x", 2), device + 2 * !strncmp(device, "0x", 2), name);
}

int region_init(struct hal_device *dev, struct vfio *vfio, const struct place *place)
{
    struct region *region = &vfio->region;
    int err;

    region->index = place->region;
    region->swap = must_swap(dev);
    describe(place, region);
    err = read_info(dev, vfio->function, region);
    if (!err && !region->size)
        err = hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "there is no %s", region->what);
    if (!err)
        err = enable(dev, vfio->function, region);
    if (!err)
        err = map_areas(dev, vfio->function, region);
    if (err)
        region_fini(region);
    return err;
}
