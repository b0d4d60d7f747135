/* SPDX-License-Identifier: Apache-2.0 */
/* Chips on SPI buses, by the kernel's spidev. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "spi.h"

#define SPIDEV_MAJOR 153 /* Documentation/admin-guide/devices.txt */
#define LIMIT_PATH "/sys/module/spidev/parameters/bufsiz"
#define LIMIT_USUAL 4096

int spi_fail(struct hal_device *dev, int err, const char *operation)
{
    const char *uri = hal_device_uri(dev);

    switch (-err) {
    case EINTR:
        return err;
    case ESHUTDOWN:
    case ENODEV:
    case ENXIO:
        return hal_fail(-ENODEV, operation, uri, "the chip select or its controller was removed");
    case ETIMEDOUT:
        return hal_fail(err, operation, uri, "the controller did not finish");
    case EIO:
        return hal_fail(err, operation, uri, "the controller failed");
    default:
        return hal_fail(err, operation, uri, NULL);
    }
}

/* ---- bytes ---- */

static ssize_t spi_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct hal_segment segment = {.rx = buf, .len = len};

    return message_exchange(dev, &segment, 1, "read", until);
}

static ssize_t spi_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    struct hal_segment segment = {.tx = buf, .len = len};

    return message_exchange(dev, &segment, 1, "write", until);
}

static ssize_t spi_transfer(struct hal_device *dev, const struct hal_segment *segments,
                            size_t count, hal_deadline until)
{
    return message_exchange(dev, segments, count, "transfer", until);
}

/* ---- opening ---- */

/* "spi0.1" of "/dev/spidev0.1"; false when the node is called otherwise. */
static bool chip_select_of(const char *path, char *out, size_t size)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

    if (strncmp(base, "spidev", 6) != 0 || strspn(base + 6, "0123456789.") != strlen(base + 6))
        return false;
    return (size_t)snprintf(out, size, "spi%s", base + 6) < size;
}

static bool driver_of(const char *chip_select, char *out, size_t size)
{
    char path[96], target[PATH_MAX];
    const char *slash;
    ssize_t n;

    snprintf(path, sizeof(path), "/sys/bus/spi/devices/%s/driver", chip_select);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(out, size, "%.*s", (int)size - 1, slash ? slash + 1 : target);
    return true;
}

/* There is no node. Is there a chip that another driver has, or none? 0: nothing is known. */
static int explain_missing(const char *path)
{
    char chip_select[32], driver[64], entry[64];

    if (!chip_select_of(path, chip_select, sizeof(chip_select)))
        return 0;
    snprintf(entry, sizeof(entry), "/sys/bus/spi/devices/%s", chip_select);
    if (access(entry, F_OK))
        return 0;
    if (driver_of(chip_select, driver, sizeof(driver)))
        return hal_fail(-EBUSY, "open", path,
                        "the kernel driver \"%s\" uses %s; take it away: echo %s | sudo tee "
                        "/sys/bus/spi/drivers/%s/unbind",
                        driver, chip_select, chip_select, driver);
    return hal_fail(-ENOENT, "open", path,
                    "the chip select is there, spidev does not drive it: echo spidev | sudo tee "
                    "%s/driver_override; echo %s | sudo tee /sys/bus/spi/drivers/spidev/bind",
                    entry, chip_select);
}

/* Opening has effects on some nodes, so a wrong one is not opened to find that out. */
static int check_node(const char *path)
{
    struct stat node;

    if (stat(path, &node))
        return explain_missing(path); /* else open(2) will say */
    if (S_ISCHR(node.st_mode) && major(node.st_rdev) == SPIDEV_MAJOR)
        return 0;
    return hal_fail(-ENOTTY, "open", path, "not a chip select of spidev; those are /dev/spidevB.C");
}

static uint32_t find_limit(void)
{
    FILE *file = fopen(LIMIT_PATH, "re");
    unsigned limit = 0;

    if (!file)
        return LIMIT_USUAL;
    if (fscanf(file, "%u", &limit) != 1 || !limit)
        limit = LIMIT_USUAL;
    fclose(file);
    return limit;
}

static int spi_open(struct hal_device *dev, struct spi *spi, const char *path)
{
    int err = check_node(path);
    int fd = err ? err : hal_open_node(path, O_RDWR | O_NONBLOCK);

    if (fd < 0)
        return fd;
    hal_device_set_fd(dev, fd);
    err = settings_load(fd, &spi->found);
    if (err)
        return spi_fail(dev, err, "open");
    spi->lanes_tx = lanes_tx_of(spi->found.mode);
    spi->lanes_rx = lanes_rx_of(spi->found.mode);
    spi->limit = find_limit();
    return 0;
}

static void spi_free(struct spi *spi)
{
    free(spi->node);
    free(spi);
}

static int spi_init(struct hal_device *dev)
{
    const char *address = hal_device_address(dev);
    char path[HAL_URI_MAX + sizeof("/dev/spidev")];
    struct spi *spi;
    int err;

    if (!*address)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which chip select? spi:0.1 is the second one of bus 0");
    spi = calloc(1, sizeof(*spi));
    if (!spi)
        return -ENOMEM;
    snprintf(path, sizeof(path), "%s%s",
             *address == '/'                      ? ""
             : *address >= '0' && *address <= '9' ? "/dev/spidev"
                                                  : "/dev/",
             address);
    spi->node = realpath(path, NULL);
    if (!spi->node)
        spi->node = strdup(path);
    spi->restore = true;
    hal_device_set_state(dev, spi);
    err = spi->node ? spi_open(dev, spi, path) : -ENOMEM;
    if (err) {
        hal_device_set_state(dev, NULL);
        spi_free(spi);
    }
    return err;
}

static void spi_fini(struct hal_device *dev)
{
    struct spi *spi = hal_device_state(dev);

    if (spi->restore && spi->changed)
        settings_restore(hal_device_fd(dev), &spi->found);
    spi_free(spi);
}

static const struct hal_match matches[] = {
    {"subsystem:spi", "{bus}.{chip}", "a chip, by spidev"},
};

static const struct driver_ops spi_ops = {
    .init = spi_init,
    .read = spi_read,
    .write = spi_write,
    .fini = spi_fini,
    .transfer = spi_transfer,
    .summary = "SPI chips by spidev",
    .address = "BUS.CS",
    .attributes = spi_attributes,
    .attribute_count = SPI_ATTRIBUTES,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("spi", &spi_ops, "0.1.0");
