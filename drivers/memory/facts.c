/* SPDX-License-Identifier: Apache-2.0 */
/* What sysfs tells of a dax device, and of the CXL region behind it. Sources: the kernel's
 * Documentation/ABI/testing/sysfs-bus-dax, -bus-cxl, -bus-nd. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define CXL "/sys/bus/cxl/devices"
#define TARGETS_MAX 16 /* devices that a CXL region can interleave over */

int read_number(const char *folder, const char *file, int64_t *out)
{
    char path[PATH_MAX], text[64], *end;
    long n;

    if (snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    n = hal_node_read_text(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    *out = (int64_t)strtoull(text, &end, 0);
    return end == text || *end ? hal_fail_plain(-EPROTO, "read", path, "\"%s\"", text) : 0;
}

/* Volatile memory: the dax device lies below its region's folder. */
static bool region_above(const char *sysfs, char out[PATH_MAX])
{
    char path[PATH_MAX], link[PATH_MAX], *name;

    strcpy(path, sysfs);
    while ((name = strrchr(path, '/')) && name != path) {
        if (!strncmp(name + 1, "region", 6) &&
            snprintf(link, sizeof(link), CXL "/%s", name + 1) < (int)sizeof(link) &&
            realpath(link, out) && !strcmp(out, path))
            return true;
        *name = '\0';
    }
    return false;
}

/* Persistent memory: the dax device lies below a region of the NVDIMM bus, which says where in
 * physical memory it is, and so does the CXL region. */
static int region_around(int64_t address, char out[PATH_MAX])
{
    DIR *folder = opendir(CXL);
    const struct dirent *entry;
    int err = -ENOENT;

    if (!folder)
        return err;
    while (err && (entry = readdir(folder))) {
        char link[PATH_MAX];
        int64_t start, size;
        if (strncmp(entry->d_name, "region", 6) ||
            snprintf(link, sizeof(link), CXL "/%s", entry->d_name) >= (int)sizeof(link) ||
            read_number(link, "resource", &start) || read_number(link, "size", &size))
            continue;
        if (address >= start && address - start < size && realpath(link, out))
            err = 0;
    }
    closedir(folder);
    return err;
}

/* The region's folder. -ENOENT: none; else the error of who asks without the rights. */
static int find_region(const struct memory *memory, char out[PATH_MAX])
{
    int64_t address;
    int err;

    if (region_above(memory->sysfs, out))
        return 0;
    err = read_number(memory->sysfs, "resource", &address);
    return err ? err : region_around(address, out);
}

static void last_part(const char *path, char out[HAL_TEXT_MAX])
{
    const char *name = strrchr(path, '/');

    snprintf(out, HAL_TEXT_MAX, "%.*s", HAL_TEXT_MAX - 1, name ? name + 1 : path);
}

/* target0, target1 ...: the endpoint decoders. */
static int get_targets(const char *region, char out[HAL_TEXT_MAX])
{
    size_t length = 0;

    out[0] = '\0';
    for (int i = 0; i < TARGETS_MAX; i++) {
        char path[PATH_MAX], name[64];
        if (snprintf(path, sizeof(path), "%s/target%d", region, i) >= (int)sizeof(path))
            return -ENAMETOOLONG;
        if (hal_node_read_text(path, name, sizeof(name)) <= 0)
            break;
        if (length + strlen(name) + 2 > HAL_TEXT_MAX)
            return -ENAMETOOLONG;
        length += (size_t)sprintf(out + length, "%s%s", i ? " " : "", name);
    }
    return 0;
}

enum fact { REGION, DECODER, TARGETS, INTERLEAVE_WAYS, INTERLEAVE_GRANULARITY };

static int get_target_node(struct hal_device *dev, const struct hal_attribute *attr,
                           struct hal_value *out)
{
    const struct memory *memory = hal_device_state(dev);

    return read_number(memory->sysfs, attr->name, &out->i);
}

static int get_fact(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    char region[PATH_MAX];
    int err = find_region(hal_device_state(dev), region);

    if (err)
        return err;
    switch (attr->tag) {
    case INTERLEAVE_WAYS:
    case INTERLEAVE_GRANULARITY:
        return read_number(region, attr->name, &out->i);
    case TARGETS:
        return get_targets(region, out->s);
    case DECODER:
        *strrchr(region, '/') = '\0';
        break;
    default:
        break;
    }
    last_part(region, out->s);
    return 0;
}

#define FACT(fact_name, fact, kind_of, unit_of, text)                                              \
    {                                                                                              \
        .name = (fact_name), .unit = (unit_of), .doc = (text), .type = (kind_of),                  \
        .access = HAL_ATTR_READ, .get = get_fact, .tag = (fact)                                    \
    }

static const struct hal_attribute facts[] = {
    {.name = "target_node",
     .doc = "NUMA node that a dax device becomes when it is used as ordinary memory.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_target_node},
    FACT("region", REGION, HAL_TYPE_TEXT, NULL, "CXL region behind a dax device."),
    FACT("decoder", DECODER, HAL_TYPE_TEXT, NULL, "Root decoder of the CXL region."),
    FACT("targets", TARGETS, HAL_TYPE_TEXT, NULL,
         "Endpoint decoders of the CXL region, in order of interleaving."),
    FACT("interleave_ways", INTERLEAVE_WAYS, HAL_TYPE_INT, NULL, "Devices in the CXL region."),
    FACT("interleave_granularity", INTERLEAVE_GRANULARITY, HAL_TYPE_INT, "B",
         "Bytes from one device of the CXL region before the next."),
};

void set_dax_attributes(struct hal_device *dev)
{
    char region[PATH_MAX];
    bool none = find_region(hal_device_state(dev), region) == -ENOENT;

    hal_device_set_attributes(dev, facts, none ? 1 : sizeof(facts) / sizeof(facts[0]));
}
