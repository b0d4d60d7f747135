/* SPDX-License-Identifier: Apache-2.0 */
/* Which PCI function and region an address names; what must be so before VFIO gives it out, and
 * what to do where it is not.
 * Source: Documentation/driver-api/vfio.rst, Documentation/ABI/testing/sysfs-bus-pci. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfio.h"

#define PCI "/sys/bus/pci/devices"
#define DRIVER_MAX 64
#define MATES_MAX 400

/* ---- the address ------------------------------------------------------------------------------
 */

static bool parse_region(const char *text, unsigned *out)
{
    char *end;

    if (!*text) {
        *out = VFIO_PCI_BAR0_REGION_INDEX;
        return true;
    }
    if (*text++ != '/')
        return false;
    if (!strcmp(text, "config"))
        *out = VFIO_PCI_CONFIG_REGION_INDEX;
    else if (!strcmp(text, "rom"))
        *out = VFIO_PCI_ROM_REGION_INDEX;
    else {
        unsigned long number = strtoul(text, &end, 10);
        *out = (unsigned)number;
        return *text >= '0' && *text <= '9' && !*end && number < 64 &&
               (number <= VFIO_PCI_BAR5_REGION_INDEX || number >= VFIO_PCI_NUM_REGIONS);
    }
    return true;
}

static int parse(struct hal_device *dev, struct place *out)
{
    const char *text = hal_device_address(dev);
    unsigned domain, bus, slot, function;
    int used = 0;

    if (sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) != 4 || !used ||
        slot > 31 || function > 7 || !parse_region(text + used, &out->region))
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "the address is a PCI function and a region: 0000:00:04.0/0 .. /5 "
                              "(BARs), /config, /rom; lspci -D lists functions");
    snprintf(out->address, sizeof(out->address), "%04x:%02x:%02x.%x", domain, bus, slot, function);
    snprintf(out->folder, sizeof(out->folder), PCI "/%s", out->address);
    return 0;
}

/* ---- the kernel driver -------------------------------------------------------------------------
 */

/* The last part of what a link in sysfs leads to; "" when there is none. */
static void link_name(const char *folder, const char *name, char out[DRIVER_MAX])
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *last;
    ssize_t n;

    out[0] = '\0';
    snprintf(path, sizeof(path), "%.3000s/%s", folder, name);
    n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return;
    target[n] = '\0';
    last = strrchr(target, '/');
    snprintf(out, DRIVER_MAX, "%.63s", last ? last + 1 : target);
}

/* vfio-pci, and what knows a device better than it: mlx5_vfio_pci ... */
static bool is_vfio(const char *driver)
{
    return strstr(driver, "vfio") != NULL;
}

static int check_driver(struct hal_device *dev, const struct place *place)
{
    const char *folder = place->folder, *name = place->address;
    char driver[DRIVER_MAX], unbind[160] = "";

    link_name(folder, "driver", driver);
    if (is_vfio(driver))
        return 0;
    if (*driver)
        snprintf(unbind, sizeof(unbind), "echo %s > %s/driver/unbind; ", name, folder);
    return hal_fail_plain(*driver ? -EBUSY : -ENOENT, "open", hal_device_uri(dev),
                          "%s%s%s; give it to vfio-pci, as root: modprobe vfio-pci; echo vfio-pci "
                          "> %s/driver_override; %secho %s > /sys/bus/pci/drivers_probe",
                          *driver ? "the kernel driver " : "it has no kernel driver", driver,
                          *driver ? " is bound to it" : "", folder, unbind, name);
}

static bool harmless(const char *driver)
{
    return !*driver || is_vfio(driver) || !strcmp(driver, "pci-stub") ||
           !strcmp(driver, "pcieport");
}

/* Functions that the IOMMU cannot tell from this one, and that kernel drivers use: how many bytes
 * their names are. */
static size_t list_mates(const struct place *place, char out[MATES_MAX])
{
    char path[PATH_MAX], driver[DRIVER_MAX];
    const struct dirent *entry;
    size_t length = 0;
    DIR *folder;

    out[0] = '\0';
    snprintf(path, sizeof(path), "%s/iommu_group/devices", place->folder);
    folder = opendir(path);
    while (folder && (entry = readdir(folder))) {
        snprintf(path, sizeof(path), PCI "/%.255s", entry->d_name);
        link_name(path, "driver", driver);
        if (!harmless(driver) && length < MATES_MAX)
            length += (size_t)snprintf(out + length, MATES_MAX - length, "%s%s (%s)",
                                       length ? ", " : "", entry->d_name, driver);
    }
    if (folder)
        closedir(folder);
    return length;
}

bool place_has_mates(const struct place *place)
{
    char mates[MATES_MAX];

    return list_mates(place, mates) > 0;
}

/* All of a group goes to the same user, or to nobody. */
int place_explain_mates(struct hal_device *dev, const struct place *place, int err)
{
    char mates[MATES_MAX];

    if (!list_mates(place, mates))
        return hal_fail(err, "open", hal_device_uri(dev), "take over IOMMU group %d", place->group);
    return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                          "the IOMMU cannot keep it apart from functions that kernel drivers use: "
                          "%s; they are one group (%d): unbind these, or give them to vfio-pci too",
                          mates, place->group);
}

/* ---- the IOMMU ---------------------------------------------------------------------------------
 */

static bool folder_is_empty(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool empty = true;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            empty = false;
    if (folder)
        closedir(folder);
    return empty;
}

#if defined(__x86_64__)
#define HOW_TO_TURN_ON                                                                             \
    "turn on VT-d or AMD-Vi in the firmware and, on Intel, boot with intel_iommu=on"
#else
#define HOW_TO_TURN_ON                                                                             \
    "the firmware's tables or the device tree must describe it, and the kernel have its driver"
#endif

/* Where a device tree describes the machine, a function gets its group with its first driver. */
static int explain_no_group(struct hal_device *dev, const struct place *place)
{
    int err;

    if (folder_is_empty("/sys/class/iommu"))
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev),
                        "no IOMMU is on: " HOW_TO_TURN_ON "; a virtual machine needs a virtual "
                        "one. Registers without DMA: mmio:%s; interrupts: the driver uio",
                        hal_device_address(dev));
    err = check_driver(dev, place);
    return err ? err
               : hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev),
                          "the machine's IOMMU (/sys/class/iommu) does not serve this device");
}

static int find_group(struct hal_device *dev, bool noiommu, struct place *out)
{
    char path[PATH_MAX], name[DRIVER_MAX];

    link_name(out->folder, "iommu_group", name);
    if (!*name)
        return explain_no_group(dev, out);
    out->group = atoi(name);
    snprintf(path, sizeof(path), "%s/iommu_group/name", out->folder);
    if (access(path, F_OK) || hal_node_read_text(path, name, sizeof(name)) < 0)
        return 0; /* groups of an IOMMU need no name */
    out->noiommu = !strcmp(name, "vfio-noiommu");
    if (out->noiommu && !noiommu)
        return hal_fail_plain(-EPERM, "open", hal_device_uri(dev),
                              "VFIO runs without IOMMU here (enable_unsafe_noiommu_mode): the "
                              "device could write anywhere in memory; open with noiommu=true if "
                              "you trust it");
    return 0;
}

/* ---- the function's own node -------------------------------------------------------------------
 */

static void find_node(struct place *out)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    DIR *folder;

    snprintf(path, sizeof(path), "%s/vfio-dev", out->folder);
    folder = opendir(path);
    while (folder && (entry = readdir(folder)))
        if (!strncmp(entry->d_name, "vfio", 4))
            snprintf(out->node, sizeof(out->node), "/dev/vfio/devices/%.20s", entry->d_name);
    if (folder)
        closedir(folder);
    if (access("/dev/iommu", F_OK) || access(out->node, F_OK))
        out->node[0] = '\0';
}

int place_find(struct hal_device *dev, bool noiommu, struct place *out)
{
    int err;

    memset(out, 0, sizeof(*out));
    err = parse(dev, out);
    if (err)
        return err;
    if (access(out->folder, F_OK))
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev),
                              "no PCI device %s (lspci -D lists them)", out->address);
    if (noiommu) /* vfio-pci makes the group */
        err = check_driver(dev, out);
    if (!err)
        err = find_group(dev, noiommu, out);
    if (!err)
        err = check_driver(dev, out);
    if (!err)
        find_node(out);
    return err;
}
