/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uio: interrupts and registers of a device that the kernel hands to user space.
 *
 *     uio:uio0
 *     uio:uio0?map=1&rearm=none
 *
 * A read waits for an interrupt and gives the kernel's count of them, a 32-bit integer. Before it
 * waits it lets the interrupt through again, so: wait, see to the device, wait. A write of a 32-bit
 * 1 or 0 lets the interrupt through or holds it back. Registers are those of one map.
 * Source: Documentation/driver-api/uio-howto.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uio.h"

/* ---- interrupts ------------------------------------------------------------------------------ */

/* uio_read() and uio_poll() answer EIO both for a device that has no interrupt and, from the moment
 * it is taken away, for one that is gone. */
static int why_not(struct hal_device *dev, int err)
{
    const struct uio *uio = uio_of(dev);

    if (err != -EIO)
        return err;
    return uio->no_interrupt
               ? hal_fail(err, "read", hal_device_uri(dev), "%s has no interrupt", uio->name)
               : hal_fail(-ENODEV, "read", hal_device_uri(dev), "%s is gone", uio->name);
}

static ssize_t uio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct uio *uio = uio_of(dev);
    ssize_t n;
    int err;

    (void)until;
    if (len < sizeof(int32_t))
        return hal_fail(-EINVAL, "read", hal_device_uri(dev),
                        "the count of interrupts has 4 bytes; room for %zu was given", len);
    n = read(hal_device_fd(dev), buf, sizeof(int32_t));
    if (n > 0)
        atomic_store(&uio->armed, false);
    if (n >= 0)
        return n;
    if (errno != EAGAIN)
        return why_not(dev, -errno);
    if (atomic_load(&uio->armed))
        return -EAGAIN;
    err = rearm_set(dev, true);
    return err ? err : -EAGAIN;
}

static ssize_t uio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    int32_t on;
    int err;

    (void)until;
    if (len != sizeof(on))
        return hal_fail(-EINVAL, "write", hal_device_uri(dev),
                        "4 bytes let interrupts through (1) or hold them back (0), not %zu", len);
    memcpy(&on, buf, sizeof(on));
    err = rearm_set(dev, on != 0);
    return err ? err : (ssize_t)len;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static int read_file(struct hal_device *dev, const char *file, char *out, size_t size)
{
    char path[96];
    long n;

    snprintf(path, sizeof(path), "%s/%s", uio_of(dev)->folder, file);
    n = hal_node_read_text(path, out, size);
    return n < 0 ? (int)n : 0;
}

static int get_count(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    char text[32];
    int err = read_file(dev, "event", text, sizeof(text));

    (void)attr;
    if (!err)
        out->i = strtoll(text, NULL, 10);
    return err;
}

static int get_text(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    return read_file(dev, attr->name, out->s, sizeof(out->s));
}

static int get_registers(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    snprintf(out->s, sizeof(out->s), "%s", uio_of(dev)->registers_uri);
    return 0;
}

static int get_rearm(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, rearm_name(uio_of(dev)->rearm));
    return 0;
}

static const char *const byte_orders[] = {"native", "little", "big", NULL};
static const char *const rearms[] = {"auto", "write", "pci", "none", NULL};

static const struct hal_attribute attributes[] = {
    {.name = "map",
     .doc = "Which map the registers are in.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = 0,
     .max = 5,
     .initial = "0"},
    {.name = "byte_order",
     .doc = "Of the registers; load and store swap where it is not the machine's.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN,
     .choices = byte_orders,
     .initial = "native"},
    {.name = "rearm",
     .doc = "How the interrupt is let through again; reading tells what \"auto\" chose.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .choices = rearms,
     .initial = "auto",
     .get = get_rearm},
    {.name = "count",
     .doc = "Interrupts since the kernel's driver was bound.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_count},
    {.name = "name",
     .doc = "What the kernel's driver calls the device.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_text},
    {.name = "version",
     .doc = "Of the kernel's driver.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_text},
    {.name = "registers",
     .doc = "The device that load, store and map go to; empty: it has none.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_registers},
};

/* ---- opening --------------------------------------------------------------------------------- */

static int take_name(struct hal_device *dev, struct uio *uio)
{
    const char *address = hal_device_address(dev);
    unsigned number;
    int used = 0;

    if (!strncmp(address, "/dev/", 5))
        address += 5;
    if (sscanf(address, "uio%9u%n", &number, &used) != 1 || address[used])
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which device? uio:uio0; they are in /sys/class/uio");
    snprintf(uio->name, sizeof(uio->name), "uio%u", number);
    snprintf(uio->folder, sizeof(uio->folder), "/sys/class/uio/%s", uio->name);
    return 0;
}

static int open_node(struct hal_device *dev, struct uio *uio)
{
    char path[32];
    int32_t count;
    int fd;

    snprintf(path, sizeof(path), "/dev/%s", uio->name);
    fd = hal_open_node(path, O_RDWR | O_NONBLOCK);
    if (fd < 0)
        return fd;
    hal_device_set_fd(dev, fd);
    uio->no_interrupt = read(fd, &count, sizeof(count)) < 0 && errno == EIO;
    return 0;
}

static int uio_init(struct hal_device *dev)
{
    struct uio *uio = calloc(1, sizeof(*uio));
    int err;

    if (!uio)
        return -ENOMEM;
    hal_device_set_state(dev, uio);
    err = take_name(dev, uio);
    if (!err)
        err = open_node(dev, uio);
    if (!err)
        err = registers_init(dev, uio);
    if (!err)
        err = rearm_init(dev, uio);
    if (err)
        free(uio);
    return err;
}

static void uio_fini(struct hal_device *dev)
{
    struct uio *uio = uio_of(dev);

    rearm_fini(uio);
    registers_fini(uio);
    free(uio);
}

static const struct hal_match matches[] = {
    {"subsystem:uio", "{name}", NULL},
};

static const struct driver_ops uio_ops = {
    .init = uio_init,
    .read = uio_read,
    .write = uio_write,
    .fini = uio_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Interrupts and registers of devices that the kernel hands to user space",
    .address = "uioN",
    .load = uio_load,
    .store = uio_store,
    .read_at = uio_read_at,
    .write_at = uio_write_at,
    .map = uio_map,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("uio", &uio_ops, "0.1.0");
