/* SPDX-License-Identifier: Apache-2.0 */
/* What an IOMMU group sees of memory, by either interface of the kernel: container and group
 * (Documentation/driver-api/vfio.rst), /dev/iommu (Documentation/userspace-api/iommufd.rst). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "iommufd.h"
#include "vfio.h"

static struct space *spaces; /* of this process; function_lock() */

static const char *const names[] = {"auto", "group", "iommufd"};

const char *backend_name(enum backend backend)
{
    return names[backend];
}

static int explain_attach(struct hal_device *dev, const struct place *place, enum backend backend,
                          int err)
{
    if (err != -EPERM || place_has_mates(place))
        return place_explain_mates(dev, place, err);
    return hal_fail(err, "open", hal_device_uri(dev),
                    "the IOMMU does not remap interrupts, so that a device could forge them: turn "
                    "interrupt remapping on in the firmware (x86: x2APIC, VT-d), or, if you trust "
                    "the device, echo 1 > /sys/module/%s/parameters/allow_unsafe_interrupts",
                    backend == BACKEND_IOMMUFD ? "iommufd" : "vfio_iommu_type1");
}

/* A mapping keeps a function, too, and shows in no list of descriptors. */
static int explain_taken(const char *path)
{
    char holders[HAL_TEXT_MAX];

    if (hal_node_holders(path, holders, sizeof(holders)) > 0)
        return hal_fail(-EBUSY, "open", path, "held by %s", holders);
    return hal_fail(-EBUSY, "open", path,
                    "/proc does not show by whom: a process of somebody else, or a mapping (an "
                    "array) of a handle that was closed");
}

/* ---- container and group -----------------------------------------------------------------------
 */

static int open_container(struct hal_device *dev, struct space *space, int type)
{
    space->container = hal_open_node("/dev/vfio/vfio", O_RDWR);
    if (space->container < 0)
        return space->container;
    if (ioctl(space->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
        return hal_fail_plain(-EPROTO, "open", "/dev/vfio/vfio", "its version is not %d",
                              VFIO_API_VERSION);
    if (ioctl(space->container, VFIO_CHECK_EXTENSION, type) <= 0)
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev),
                        "the kernel offers no type 1 IOMMU: modprobe vfio_iommu_type1");
    return 0;
}

static int open_group_node(const char *path)
{
    int fd = hal_open_node(path, O_RDWR);

    return fd == -EBUSY ? explain_taken(path) : fd;
}

static int open_group(struct hal_device *dev, const struct place *place, struct space *space)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    int type = space->noiommu ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU;
    char path[NODE_MAX];
    int err = open_container(dev, space, type);

    if (err)
        return err;
    snprintf(path, sizeof(path), "/dev/vfio/%s%d", space->noiommu ? "noiommu-" : "", place->group);
    space->group_fd = open_group_node(path);
    if (space->group_fd < 0)
        return space->group_fd;
    if (ioctl(space->group_fd, VFIO_GROUP_GET_STATUS, &status))
        return hal_fail(-errno, "open", path, "its status");
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return place_explain_mates(dev, place, -EBUSY);
    if (ioctl(space->group_fd, VFIO_GROUP_SET_CONTAINER, &space->container))
        return place_explain_mates(dev, place, -errno);
    if (ioctl(space->container, VFIO_SET_IOMMU, type))
        return explain_attach(dev, place, space->backend, -errno);
    return 0;
}

/* ---- /dev/iommu --------------------------------------------------------------------------------
 */

static int open_iommufd(struct space *space)
{
    struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

    space->container = hal_open_node("/dev/iommu", O_RDWR);
    if (space->container < 0)
        return space->container;
    if (ioctl(space->container, IOMMU_IOAS_ALLOC, &alloc))
        return hal_fail(-errno, "open", "/dev/iommu", "a new address space");
    space->ioas = alloc.out_ioas_id;
    return 0;
}

/* EINVAL: another descriptor is bound; EBUSY: the group is in use by its own node. */
static int explain_bind(struct hal_device *dev, const struct place *place, int err)
{
    return err == -EINVAL || err == -EBUSY ? explain_taken(place->node)
                                           : explain_attach(dev, place, BACKEND_IOMMUFD, err);
}

static int open_node(struct hal_device *dev, const struct place *place, const struct space *space)
{
    struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = space->container};
    struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = space->ioas};
    int fd = hal_open_node(place->node, O_RDWR), err;

    if (fd < 0)
        return fd;
    if (!ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
        if (!ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
            return fd;
        err = explain_attach(dev, place, space->backend, -errno);
        close(fd);
        return err;
    }
    err = -errno;
    close(fd); /* or this process would be among the holders */
    return explain_bind(dev, place, err);
}

/* ---- either ------------------------------------------------------------------------------------
 */

/* The newer interface where this user has the rights for it, else the older. */
static int choose(struct hal_device *dev, const struct place *place, enum backend asked,
                  enum backend *out)
{
    bool have = *place->node && !place->noiommu;

    if (asked == BACKEND_IOMMUFD && !have)
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev),
                        "no /dev/iommu with a node below /dev/vfio/devices: they need Linux 6.6 "
                        "with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV; open with backend=group");
    *out = asked;
    if (asked == BACKEND_AUTO)
        *out = have && !access(place->node, R_OK | W_OK) && !access("/dev/iommu", R_OK | W_OK)
                   ? BACKEND_IOMMUFD
                   : BACKEND_GROUP;
    return 0;
}

/* Let go of what the kernel has given; also of a parent's, after fork(2). */
static void space_forget(struct space *space)
{
    if (space->group_fd >= 0)
        close(space->group_fd);
    if (space->container >= 0)
        close(space->container);
    dma_forget(space);
    pthread_mutex_destroy(&space->lock);
    free(space);
}

void space_forget_all(void)
{
    while (spaces) {
        struct space *next = spaces->next;
        space_forget(spaces);
        spaces = next;
    }
}

static int make(struct hal_device *dev, const struct place *place, enum backend backend,
                struct space **out)
{
    struct space *space = calloc(1, sizeof(*space));
    int err;

    if (!space)
        return -ENOMEM;
    space->backend = backend;
    space->group = place->group;
    space->noiommu = place->noiommu;
    space->container = space->group_fd = -1;
    space->page = (uint64_t)sysconf(_SC_PAGESIZE);
    pthread_mutex_init(&space->lock, NULL);
    err = backend == BACKEND_GROUP ? open_group(dev, place, space) : open_iommufd(space);
    if (err) {
        space_forget(space);
        return err;
    }
    space->next = spaces;
    spaces = space;
    *out = space;
    return 0;
}

int space_get(struct hal_device *dev, const struct place *place, enum backend asked,
              struct space **out)
{
    enum backend backend = asked;
    int err = 0;

    for (*out = spaces; *out; *out = (*out)->next)
        if ((*out)->group == place->group)
            break;
    if (*out && asked != BACKEND_AUTO && asked != (*out)->backend)
        return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                              "this process uses its IOMMU group %d with backend=%s", place->group,
                              names[(*out)->backend]);
    if (!*out) {
        err = choose(dev, place, asked, &backend);
        if (!err)
            err = make(dev, place, backend, out);
    }
    if (!err)
        (*out)->references++;
    return err;
}

void space_put(struct space *space)
{
    struct space **at = &spaces;

    if (--space->references)
        return;
    while (*at != space)
        at = &(*at)->next;
    *at = space->next;
    space_forget(space);
}

/* The function's descriptor. */
int space_open_function(struct hal_device *dev, const struct place *place, struct space *space)
{
    int fd;

    if (space->backend == BACKEND_IOMMUFD)
        return open_node(dev, place, space);
    fd = ioctl(space->group_fd, VFIO_GROUP_GET_DEVICE_FD, place->address);
    return fd < 0 ? hal_fail(-errno, "open", hal_device_uri(dev), "take it from IOMMU group %d",
                             place->group)
                  : fd;
}

/* ---- what addresses it can translate -----------------------------------------------------------
 */

/* Where an IOMMU does not say: below the window of x86's message interrupts. */
static void assume_ranges(struct space *space)
{
    space->ranges[0] = (struct range){0, 0xfedfffff};
    space->range_count = 1;
}

/* In the list of capabilities, whose offsets are as the kernel likes, aligned or not. */
static void find_ranges(struct space *space, const uint8_t *bytes, size_t size, uint32_t at)
{
    struct vfio_iommu_type1_info_cap_iova_range found;
    struct vfio_iova_range range;

    for (; at && at + sizeof(found) <= size; at = found.header.next) {
        memcpy(&found, bytes + at, sizeof(found));
        if (found.header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
            continue;
        at += (uint32_t)sizeof(found);
        space->range_count = 0;
        for (unsigned i = 0; i < found.nr_iovas && i < IOVA_RANGES_MAX; i++) {
            if (at + (i + 1) * sizeof(range) > size)
                break;
            memcpy(&range, bytes + at + i * sizeof(range), sizeof(range));
            space->ranges[space->range_count++] = (struct range){range.start, range.end};
        }
        return;
    }
}

static int read_container_info(struct hal_device *dev, struct space *space)
{
    union {
        struct vfio_iommu_type1_info info;
        uint8_t bytes[2048];
    } answer = {.info = {.argsz = sizeof(answer)}};

    if (ioctl(space->container, VFIO_IOMMU_GET_INFO, &answer))
        return hal_fail(-errno, "open", hal_device_uri(dev), "facts about the IOMMU");
    if (answer.info.flags & VFIO_IOMMU_INFO_PGSIZES && answer.info.iova_pgsizes) {
        uint64_t smallest = answer.info.iova_pgsizes & -answer.info.iova_pgsizes;
        if (smallest > space->page)
            space->page = smallest;
    }
    assume_ranges(space);
    if (answer.info.flags & VFIO_IOMMU_INFO_CAPS)
        find_ranges(space, answer.bytes, sizeof(answer), answer.info.cap_offset);
    return 0;
}

static int read_ioas_ranges(struct hal_device *dev, struct space *space)
{
    struct iommu_iova_range found[IOVA_RANGES_MAX];
    struct iommu_ioas_iova_ranges query = {.size = sizeof(query),
                                           .ioas_id = space->ioas,
                                           .num_iovas = IOVA_RANGES_MAX,
                                           .allowed_iovas = (uintptr_t)found};

    /* EMSGSIZE: there are more; the first ones do. */
    if (ioctl(space->container, IOMMU_IOAS_IOVA_RANGES, &query) && errno != EMSGSIZE)
        return hal_fail(-errno, "open", hal_device_uri(dev), "facts about the IOMMU");
    space->range_count = 0;
    for (unsigned i = 0; i < query.num_iovas && i < IOVA_RANGES_MAX; i++)
        space->ranges[space->range_count++] = (struct range){found[i].start, found[i].last};
    if (query.out_iova_alignment > space->page)
        space->page = query.out_iova_alignment;
    return 0;
}

/* Anew after every function that is added: each may narrow them. */
int space_read_ranges(struct hal_device *dev, struct space *space)
{
    int err = 0;

    if (space->noiommu)
        return 0;
    pthread_mutex_lock(&space->lock);
    err = space->backend == BACKEND_GROUP ? read_container_info(dev, space)
                                          : read_ioas_ranges(dev, space);
    pthread_mutex_unlock(&space->lock);
    return err;
}

/* ---- mapping: whole pages ----------------------------------------------------------------------
 */

int space_map(struct space *space, uint64_t address, uint64_t iova, uint64_t size, uint32_t flags)
{
    bool reads = flags & HAL_VFIO_DEVICE_READS, writes = flags & HAL_VFIO_DEVICE_WRITES;

    if (space->backend == BACKEND_IOMMUFD) {
        struct iommu_ioas_map map = {.size = sizeof(map),
                                     .flags = IOMMU_IOAS_MAP_FIXED_IOVA |
                                              (reads ? IOMMU_IOAS_MAP_READABLE : 0u) |
                                              (writes ? IOMMU_IOAS_MAP_WRITEABLE : 0u),
                                     .ioas_id = space->ioas,
                                     .user_va = address,
                                     .length = size,
                                     .iova = iova};
        return ioctl(space->container, IOMMU_IOAS_MAP, &map) ? -errno : 0;
    }
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
                                           .flags = (reads ? VFIO_DMA_MAP_FLAG_READ : 0u) |
                                                    (writes ? VFIO_DMA_MAP_FLAG_WRITE : 0u),
                                           .vaddr = address,
                                           .iova = iova,
                                           .size = size};
    return ioctl(space->container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

int space_unmap(struct space *space, uint64_t iova, uint64_t size)
{
    if (space->backend == BACKEND_IOMMUFD) {
        struct iommu_ioas_unmap unmap = {
            .size = sizeof(unmap), .ioas_id = space->ioas, .iova = iova, .length = size};
        return ioctl(space->container, IOMMU_IOAS_UNMAP, &unmap) ? -errno : 0;
    }
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .iova = iova, .size = size};
    return ioctl(space->container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : 0;
}
