/* SPDX-License-Identifier: Apache-2.0 */
/* Placing shared memory on a NUMA node: mbind(2) of a shared mapping is kept by the object, so
 * every mapping of it, in every process, follows. By syscall(2): libnuma is not needed for that. */
#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

#define HAS_MEMORY "/sys/devices/system/node/has_memory"
#define NODES_MAX 1024
#define WORD_BITS (8 * sizeof(unsigned long))

struct nodes {
    unsigned long mask[NODES_MAX / WORD_BITS];
    int count;
};

static int explain(struct hal_device *dev, int err, const char *asked)
{
    char online[HAL_TEXT_MAX];

    if (err == -ENOSYS)
        return hal_fail(-EOPNOTSUPP, "place", hal_device_uri(dev),
                        "%s: this kernel is built without NUMA", asked);
    if (hal_node_read_text(HAS_MEMORY, online, sizeof(online)) < 0)
        strcpy(online, "not known");
    return hal_fail(err, "place", hal_device_uri(dev), "%s; nodes with memory: %s", asked, online);
}

static bool add_nodes(struct nodes *out, unsigned long first, unsigned long last)
{
    if (first > last || last >= NODES_MAX)
        return false;
    for (unsigned long node = first; node <= last; node++)
        out->mask[node / WORD_BITS] |= 1ul << (node % WORD_BITS);
    out->count += (int)(last - first) + 1;
    return true;
}

/* "0,2-3": the form of sysfs. */
static bool parse_nodes(const char *text, struct nodes *out)
{
    for (;;) {
        unsigned long first, last;
        int used = 0, more = 0;

        if (*text < '0' || *text > '9' || sscanf(text, "%4lu%n", &first, &used) != 1)
            return false;
        last = first;
        text += used;
        if (*text == '-' && sscanf(text, "-%4lu%n", &last, &more) != 1)
            return false;
        text += more;
        if (!add_nodes(out, first, last))
            return false;
        if (!*text)
            return true;
        if (*text++ != ',')
            return false;
    }
}

/* One node, several to take turns, or none: what the URI asks for. 0 or a negative errno. */
static int find_nodes(struct hal_device *dev, const struct memory *memory, struct nodes *out,
                      char asked[HAL_TEXT_MAX])
{
    struct hal_value list;

    if (hal_device_option(dev, "interleave", &list) < 0) {
        snprintf(asked, HAL_TEXT_MAX, "node=%" PRId64, memory->node);
        if (memory->node >= 0)
            add_nodes(out, (unsigned long)memory->node, (unsigned long)memory->node);
        return 0;
    }
    snprintf(asked, HAL_TEXT_MAX, "interleave=%.200s", list.s);
    if (memory->node >= 0)
        return hal_fail_plain(-EINVAL, "place", hal_device_uri(dev),
                              "node= and interleave= exclude each other");
    return parse_nodes(list.s, out) ? 0
                                    : hal_fail_plain(-EINVAL, "place", hal_device_uri(dev),
                                                     "%s: nodes are listed as 0,2-3", asked);
}

/* mbind(2) takes what it can of a list, and says nothing of the rest. */
static bool all_have_memory(const struct nodes *asked)
{
    struct nodes have = {.count = 0};
    char text[HAL_TEXT_MAX];

    if (hal_node_read_text(HAS_MEMORY, text, sizeof(text)) < 0 || !parse_nodes(text, &have))
        return true; /* not known */
    for (size_t i = 0; i < NODES_MAX / WORD_BITS; i++)
        if (asked->mask[i] & ~have.mask[i])
            return false;
    return true;
}

int place_memory(struct hal_device *dev, const struct memory *memory)
{
    struct nodes nodes = {.count = 0};
    char asked[HAL_TEXT_MAX];
    int err = find_nodes(dev, memory, &nodes, asked);

    if (err || !nodes.count)
        return err;
    if (memory->kind != KIND_SHM && memory->kind != KIND_MEMFD)
        return hal_fail(-EOPNOTSUPP, "place", hal_device_uri(dev),
                        "%s is for shm and memfd; where a file's or a device's memory is was "
                        "decided before",
                        asked);
    if (!all_have_memory(&nodes))
        return explain(dev, -EINVAL, asked);
    if (syscall(SYS_mbind, memory->base, memory->base_length,
                memory->node >= 0 ? MPOL_BIND : MPOL_INTERLEAVE, nodes.mask, NODES_MAX + 1ul,
                MPOL_MF_MOVE))
        return explain(dev, -errno, asked);
    return 0;
}
