/* SPDX-License-Identifier: Apache-2.0 */
/* Placing shared memory on a NUMA node: mbind(2) of a shared mapping is kept by the object, so
 * every mapping of it, in every process, follows. By syscall(2): libnuma is not needed for that. */
#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

#define NODES_MAX 1024
#define WORD_BITS (8 * sizeof(unsigned long))

static int explain(struct hal_device *dev, int err, int64_t node)
{
    char online[HAL_TEXT_MAX];

    if (err == -ENOSYS)
        return hal_fail(-EOPNOTSUPP, "place", hal_device_uri(dev),
                        "node=%" PRId64 ": this kernel is built without NUMA", node);
    if (hal_node_read_text("/sys/devices/system/node/has_memory", online, sizeof(online)) < 0)
        strcpy(online, "not known");
    return hal_fail(err, "place", hal_device_uri(dev), "node=%" PRId64 "; nodes with memory: %s",
                    node, online);
}

int place_memory(struct hal_device *dev, const struct memory *memory)
{
    unsigned long mask[NODES_MAX / WORD_BITS] = {0};

    if (memory->node < 0)
        return 0;
    if (memory->kind != KIND_SHM && memory->kind != KIND_MEMFD)
        return hal_fail(-EOPNOTSUPP, "place", hal_device_uri(dev),
                        "node= is for shm and memfd; where a file's or a device's memory is was "
                        "decided before");
    mask[(size_t)memory->node / WORD_BITS] |= 1ul << ((size_t)memory->node % WORD_BITS);
    if (syscall(SYS_mbind, memory->base, memory->base_length, MPOL_BIND, mask, NODES_MAX + 1ul,
                MPOL_MF_MOVE))
        return explain(dev, -errno, memory->node);
    return 0;
}
