/* SPDX-License-Identifier: Apache-2.0 */
/* Where registers come from: PCI base address registers, maps of UIO devices, physical memory,
 * files.
 * Sources: Documentation/PCI/sysfs-pci.rst, Documentation/driver-api/uio-howto.rst, mem(4). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mmio.h"

#define PCI "/sys/bus/pci/devices"
#define UIO "/sys/class/uio"
#define NAME_MAX_SHOWN 64

/* From the kernel's include/linux/ioport.h; the third column of "resource". */
#define RESOURCE_IO 0x100
#define RESOURCE_PREFETCH 0x2000

static int read_number(const char *path, uint64_t *out)
{
    char text[64], *end;
    long n = hal_node_read_text(path, text, sizeof(text));

    if (n < 0)
        return (int)n;
    *out = strtoull(text, &end, 0);
    return end == text || *end ? hal_fail_plain(-EPROTO, "read", path, "\"%s\"", text) : 0;
}

/* ---- PCI: DDDD:BB:DD.F/BAR ---------------------------------------------------------------------
 */

/* The kernel driver that is bound, "" when none is. */
static void bound_driver(const char *folder, char out[NAME_MAX_SHOWN])
{
    char path[PATH_MAX], target[PATH_MAX];
    ssize_t n;

    out[0] = '\0';
    snprintf(path, sizeof(path), "%.3000s/driver", folder);
    n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return;
    target[n] = '\0';
    snprintf(out, NAME_MAX_SHOWN, "%.63s",
             strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
}

/* Registers that a kernel driver uses are not to be touched behind its back. */
static int check_unbound(struct hal_device *dev, const char *folder, bool force)
{
    char driver[NAME_MAX_SHOWN];

    bound_driver(folder, driver);
    if (!*driver || force || !strcmp(driver, "uio_pci_generic") || !strcmp(driver, "pci-stub"))
        return 0;
    return hal_fail(-EBUSY, "open", hal_device_uri(dev),
                    "the kernel driver %s is bound to it; unbind it (echo ADDRESS > "
                    "/sys/bus/pci/drivers/%s/unbind), or open with force=true",
                    driver, driver);
}

/* A device that is not enabled answers every read with all ones. */
static int check_enabled(struct hal_device *dev, const char *folder, bool enable)
{
    char path[PATH_MAX];
    uint64_t enabled;
    int err;

    snprintf(path, sizeof(path), "%.3000s/enable", folder);
    err = read_number(path, &enabled);
    if (err || enabled)
        return err;
    if (enable)
        return hal_node_write_text(path, "1");
    return hal_fail_plain(-ENODATA, "open", hal_device_uri(dev),
                          "the PCI device is disabled: it would answer all ones; open with "
                          "enable=true to enable it");
}

/* Line `bar` of "resource": start, end, flags. */
static int read_bar(struct hal_device *dev, const char *folder, unsigned bar, uint64_t *size,
                    uint64_t *flags)
{
    char path[PATH_MAX], text[1024], *line = text;
    uint64_t start, end;
    long n;

    snprintf(path, sizeof(path), "%.3000s/resource", folder);
    n = hal_node_read_text(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    for (unsigned i = 0; i < bar && line; i++)
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    if (!line || sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end, flags) != 3)
        return hal_fail_plain(-EPROTO, "read", path, "line %u is not \"start end flags\"", bar + 1);
    if (!end)
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "it has no BAR %u", bar);
    *size = end - start + 1;
    return 0;
}

static void describe_pci(const char *folder, unsigned bar, struct region *out)
{
    uint64_t vendor = 0, device = 0;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.3000s/vendor", folder);
    read_number(path, &vendor);
    snprintf(path, sizeof(path), "%.3000s/device", folder);
    read_number(path, &device);
    snprintf(out->what, sizeof(out->what), "PCI %04" PRIx64 ":%04" PRIx64 " BAR %u", vendor, device,
             bar);
}

static int find_bar(struct hal_device *dev, const char *address, unsigned bar, bool force,
                    bool enable, struct region *out)
{
    char folder[PATH_MAX];
    uint64_t flags = 0;
    int err;

    snprintf(folder, sizeof(folder), PCI "/%s", address);
    if (access(folder, F_OK))
        return hal_fail(-ENOENT, "open", hal_device_uri(dev), "no PCI device %s", address);
    err = read_bar(dev, folder, bar, &out->size, &flags);
    if (err)
        return err;
    if (flags & RESOURCE_IO)
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev), "BAR %u is I/O ports, not memory",
                        bar);
    err = check_unbound(dev, folder, force);
    if (!err)
        err = check_enabled(dev, folder, enable);
    if (err)
        return err;
    out->prefetchable = flags & RESOURCE_PREFETCH;
    snprintf(out->path, sizeof(out->path), "%.3000s/resource%u", folder, bar);
    snprintf(out->combining_path, sizeof(out->combining_path), "%.3000s/resource%u_wc", folder,
             bar);
    if (access(out->combining_path, F_OK))
        out->combining_path[0] = '\0';
    describe_pci(folder, bar, out);
    return 0;
}

/* ---- UIO: uioN/MAP -----------------------------------------------------------------------------
 */

/* Map N of a UIO device is found at N pages in the file (UIO howto); registers may begin inside. */
static int find_map(struct hal_device *dev, unsigned uio, unsigned map, struct region *out)
{
    uint64_t offset = 0;
    char path[PATH_MAX];
    int err;

    snprintf(path, sizeof(path), UIO "/uio%u/maps/map%u/size", uio, map);
    if (access(path, F_OK))
        return hal_fail(-ENOENT, "open", hal_device_uri(dev), "no map %u of uio%u in " UIO, map,
                        uio);
    err = read_number(path, &out->size);
    snprintf(path, sizeof(path), UIO "/uio%u/maps/map%u/offset", uio, map);
    if (!err && !access(path, F_OK))
        err = read_number(path, &offset);
    if (err)
        return err;
    out->whole = true;
    out->start = (uint64_t)map * (uint64_t)sysconf(_SC_PAGESIZE) + offset;
    snprintf(out->path, sizeof(out->path), "/dev/uio%u", uio);
    snprintf(out->what, sizeof(out->what), "UIO device %u map %u", uio, map);
    return 0;
}

/* ---- physical memory: 0xADDRESS+0xLENGTH -------------------------------------------------------
 */

static int find_physical(uint64_t start, uint64_t size, struct region *out)
{
    out->start = start;
    out->size = size;
    snprintf(out->path, sizeof(out->path), "/dev/mem");
    snprintf(out->what, sizeof(out->what), "physical 0x%" PRIx64, start);
    return 0;
}

/* ---- a file: /PATH, /PATH+0xLENGTH -------------------------------------------------------------
 */

/* "/a+0x10" is the length 0x10 of "/a", unless there is a file of that whole name. */
static int find_file(struct hal_device *dev, const char *address, struct region *out)
{
    const char *plus = strrchr(address, '+');
    struct stat facts;
    char *end = NULL;

    if (strlen(address) >= sizeof(out->path))
        return hal_fail(-ENAMETOOLONG, "open", hal_device_uri(dev), NULL);
    strcpy(out->path, address);
    if (plus && access(address, F_OK)) {
        out->size = strtoull(plus + 1, &end, 0);
        if (end == plus + 1 || *end)
            return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                  "after '+' comes a length, not \"%s\"", plus + 1);
        out->path[plus - address] = '\0';
    } else if (!stat(address, &facts)) {
        out->size = (uint64_t)facts.st_size;
        if (!out->size)
            return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                  "%s does not tell its size: give it as %s+0x1000", address,
                                  address);
    } else {
        out->size = 1; /* opening it says what is wrong */
    }
    snprintf(out->what, sizeof(out->what), "%.95s", out->path);
    return 0;
}

int find_region(struct hal_device *dev, bool force, bool enable, struct region *out)
{
    const char *address = hal_device_address(dev);
    char pci[32];
    uint64_t start, size;
    unsigned a, b;
    int used = 0;

    memset(out, 0, sizeof(*out));
    if (*address == '/')
        return find_file(dev, address, out);
    if (sscanf(address, "uio%u/%u%n", &a, &b, &used) == 2 && !address[used])
        return find_map(dev, a, b, out);
    used = 0;
    if (sscanf(address, "0x%" SCNx64 "+%" SCNi64 "%n", &start, (int64_t *)&size, &used) == 2 &&
        !address[used] && size)
        return find_physical(start, size, out);
    used = 0;
    if (sscanf(address, "%31[0-9a-fA-F:.]/%u%n", pci, &b, &used) == 2 && !address[used] && b < 6)
        return find_bar(dev, pci, b, force, enable, out);
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                          "the address is a PCI BAR (0000:00:04.0/0 .. 5), a UIO map (uio0/0), or "
                          "physical memory (0xfe000000+0x1000), or a file (/dev/shm/registers)");
}
