/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of this process that devices reach: where in their address space it goes, and for how
 * long. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vfio.h"

/* Left free when the driver chooses: a device that was never programmed tends to use address 0. */
#define LOWEST 0x10000u
#define PCI_COMMAND_MASTER 0x0004 /* PCI 3.0, 6.2.2 */

/* One mapping; in a space's list they are sorted by address. */
struct mapping {
    struct mapping *next;
    const struct vfio *owner;
    uint64_t first, last; /* whole pages, for devices */
    uint64_t iova;        /* of the first byte asked for */
};

void dma_forget(struct space *space)
{
    while (space->mappings) {
        struct mapping *next = space->mappings->next;
        free(space->mappings);
        space->mappings = next;
    }
}

/* ---- finding a place ---------------------------------------------------------------------------
 */

static bool within(const struct space *space, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < space->range_count; i++)
        if (first >= space->ranges[i].first && last <= space->ranges[i].last)
            return true;
    return false;
}

static const struct mapping *find_overlap(const struct space *space, uint64_t first, uint64_t last)
{
    for (const struct mapping *m = space->mappings; m; m = m->next)
        if (m->first <= last && first <= m->last)
            return m;
    return NULL;
}

/* The lowest place for `size` bytes that ends at `top` or before. */
static bool find_free(const struct space *space, uint64_t size, uint64_t top, uint64_t *out)
{
    for (unsigned i = 0; i < space->range_count; i++) {
        uint64_t at = space->ranges[i].first > LOWEST ? space->ranges[i].first : LOWEST;
        uint64_t end = space->ranges[i].last < top ? space->ranges[i].last : top;

        at = (at + space->page - 1) & ~(space->page - 1);
        while (at <= end && size - 1 <= end - at) {
            const struct mapping *other = find_overlap(space, at, at + size - 1);
            if (!other) {
                *out = at;
                return true;
            }
            if (other->last >= end)
                break;
            at = other->last + 1;
        }
    }
    return false;
}

static int choose_iova(struct hal_device *dev, struct space *space, uint64_t size, uint64_t *first)
{
    unsigned bits = vfio_of(dev)->dma_bits;
    uint64_t top = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;

    if (find_free(space, size, top, first))
        return 0;
    return hal_fail(-ENOSPC, "map for DMA", hal_device_uri(dev),
                    "no %" PRIu64 " bytes free below 2^%u (dma_bits), where %" PRIu64
                    " are mapped: unmap some",
                    size, bits, space->locked);
}

static int check_iova(struct hal_device *dev, const struct space *space, uint64_t first,
                      uint64_t size)
{
    const struct mapping *other;

    if (first > UINT64_MAX - (size - 1) || !within(space, first, first + size - 1))
        return hal_fail_plain(-ERANGE, "map for DMA", hal_device_uri(dev),
                              "the IOMMU does not translate %" PRIu64 " bytes at IOVA 0x%" PRIx64
                              " (attribute iova_ranges)",
                              size, first);
    other = find_overlap(space, first, first + size - 1);
    if (other)
        return hal_fail(-EADDRINUSE, "map for DMA", hal_device_uri(dev),
                        "IOVA 0x%" PRIx64 " .. 0x%" PRIx64 " is mapped", other->first, other->last);
    return 0;
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

static int explain_memory(struct hal_device *dev, const struct space *space, uint64_t size)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return hal_fail(-ENOMEM, "map for DMA", hal_device_uri(dev), "%" PRIu64 " bytes", size);
    return hal_fail(-ENOMEM, "map for DMA", hal_device_uri(dev),
                    "%" PRIu64 " bytes more than the %" PRIu64 " that are locked for DMA; this "
                    "process may lock %llu (RLIMIT_MEMLOCK): raise it (ulimit -l, LimitMEMLOCK= of "
                    "a systemd unit, memlock in /etc/security/limits.conf)",
                    size, space->locked, (unsigned long long)limit.rlim_cur);
}

static int explain_map(struct hal_device *dev, const struct space *space,
                       const struct hal_vfio_dma *dma, uint64_t size, int err)
{
    switch (err) {
    case -ENOMEM:
        return explain_memory(dev, space, size);
    case -EFAULT:
        return hal_fail(err, "map for DMA", hal_device_uri(dev),
                        "%" PRIu64 " bytes at 0x%" PRIx64 ": not all of it is memory%s",
                        dma->length, dma->address,
                        dma->flags & HAL_VFIO_DEVICE_WRITES
                            ? " that can be written (memory that cannot is for reading alone: "
                              "HAL_VFIO_DEVICE_READS)"
                            : "");
    case -ENOSPC:
        return hal_fail(err, "map for DMA", hal_device_uri(dev),
                        "too many mappings (dma_entry_limit of the module vfio_iommu_type1)");
    default:
        return hal_fail(err, "map for DMA", hal_device_uri(dev), "%" PRIu64 " bytes at 0x%" PRIx64,
                        dma->length, dma->address);
    }
}

static int check(struct hal_device *dev, const struct hal_vfio_dma *dma)
{
    const struct space *space = vfio_of(dev)->function->space;
    uint64_t inside = space->page - 1;

    if (space->noiommu)
        return hal_fail(-EOPNOTSUPP, "map for DMA", hal_device_uri(dev), "there is no IOMMU");
    if (!dma->flags || dma->flags & ~(uint32_t)(HAL_VFIO_DEVICE_READS | HAL_VFIO_DEVICE_WRITES))
        return hal_fail_plain(-EINVAL, "map for DMA", hal_device_uri(dev),
                              "flags 0x%x: HAL_VFIO_DEVICE_READS, HAL_VFIO_DEVICE_WRITES or both",
                              dma->flags);
    if (!dma->length || dma->length > INT64_MAX || dma->address > INT64_MAX)
        return hal_fail_plain(-EINVAL, "map for DMA", hal_device_uri(dev),
                              "%" PRIu64 " bytes at 0x%" PRIx64, dma->length, dma->address);
    if (dma->iova != HAL_VFIO_IOVA_ANY && (dma->iova & inside) != (dma->address & inside))
        return hal_fail_plain(-EINVAL, "map for DMA", hal_device_uri(dev),
                              "the memory lies 0x%" PRIx64 " into its page, the IOVA 0x%" PRIx64
                              " 0x%" PRIx64 ": these must be equal",
                              dma->address & inside, dma->iova, dma->iova & inside);
    return 0;
}

static void insert(struct space *space, struct mapping *mapping, struct vfio *owner)
{
    uint64_t size = mapping->last - mapping->first + 1;
    struct mapping **at = &space->mappings;

    while (*at && (*at)->first < mapping->first)
        at = &(*at)->next;
    mapping->next = *at;
    mapping->owner = owner;
    *at = mapping;
    space->locked += size;
    atomic_fetch_add(&owner->dma_bytes, size);
}

static int map_pages(struct hal_device *dev, struct space *space, struct hal_vfio_dma *dma,
                     struct mapping *mapping)
{
    uint64_t offset = dma->address & (space->page - 1);
    uint64_t size = (offset + dma->length + space->page - 1) & ~(space->page - 1);
    int err;

    mapping->first = dma->iova - offset;
    err = dma->iova == HAL_VFIO_IOVA_ANY ? choose_iova(dev, space, size, &mapping->first)
                                         : check_iova(dev, space, mapping->first, size);
    if (err)
        return err;
    err = space_map(space, dma->address - offset, mapping->first, size, dma->flags);
    if (err)
        return explain_map(dev, space, dma, size, err);
    mapping->last = mapping->first + size - 1;
    mapping->iova = dma->iova = mapping->first + offset;
    return 0;
}

long dma_map(struct hal_device *dev, struct hal_vfio_dma *dma)
{
    struct vfio *vfio = vfio_of(dev);
    struct space *space = vfio->function->space;
    struct mapping *mapping;
    int err;

    pthread_mutex_lock(&space->lock);
    err = check(dev, dma);
    pthread_mutex_unlock(&space->lock);
    if (err)
        return err;
    err = function_command(dev, vfio->function, PCI_COMMAND_MASTER, true);
    if (err)
        return err;
    mapping = calloc(1, sizeof(*mapping));
    if (!mapping)
        return -ENOMEM;
    pthread_mutex_lock(&space->lock);
    err = map_pages(dev, space, dma, mapping);
    if (!err)
        insert(space, mapping, vfio);
    pthread_mutex_unlock(&space->lock);
    if (err)
        free(mapping);
    return err;
}

/* ---- unmapping ---------------------------------------------------------------------------------
 */

/* Take `*at` out of the list and out of the IOMMU. */
static int drop(struct space *space, struct mapping **at, struct vfio *owner)
{
    struct mapping *mapping = *at;
    uint64_t size = mapping->last - mapping->first + 1;
    int err = space_unmap(space, mapping->first, size);

    if (err)
        return err;
    *at = mapping->next;
    space->locked -= size;
    atomic_fetch_sub(&owner->dma_bytes, size);
    free(mapping);
    return 0;
}

long dma_unmap(struct hal_device *dev, uint64_t iova)
{
    struct vfio *vfio = vfio_of(dev);
    struct space *space = vfio->function->space;
    struct mapping **at = &space->mappings;
    int err;

    pthread_mutex_lock(&space->lock);
    while (*at && ((*at)->iova != iova || (*at)->owner != vfio))
        at = &(*at)->next;
    if (*at) {
        err = drop(space, at, vfio);
        if (err)
            hal_fail(err, "unmap from DMA", hal_device_uri(dev), "IOVA 0x%" PRIx64, iova);
    } else {
        err = hal_fail_plain(-ENOENT, "unmap from DMA", hal_device_uri(dev),
                             "this handle has mapped nothing at IOVA 0x%" PRIx64, iova);
    }
    pthread_mutex_unlock(&space->lock);
    return err;
}

/* What a handle leaves behind. What the kernel will not unmap stays in the list, so that its place
 * is not given out again. */
void dma_unmap_all(struct vfio *vfio)
{
    struct space *space = vfio->function->space;
    struct mapping **at = &space->mappings;

    pthread_mutex_lock(&space->lock);
    while (*at) {
        if ((*at)->owner == vfio && !drop(space, at, vfio))
            continue;
        if ((*at)->owner == vfio)
            (*at)->owner = NULL;
        at = &(*at)->next;
    }
    pthread_mutex_unlock(&space->lock);
}
