/* SPDX-License-Identifier: Apache-2.0 */
/* Letting the interrupt through again. A level interrupt is masked by the kernel when it comes, as
 * it would come for ever until user space has seen to the device. Sources:
 * Documentation/driver-api/uio-howto.rst, drivers/uio/uio_pci_generic.c; PCI 3.0, 6.2.2. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "uio.h"

#define PCI_COMMAND 4
#define PCI_COMMAND_INTX_DISABLE 0x0400 /* little-endian, as all of configuration space */

static const char *const names[] = {"none", "write", "pci"};

const char *rearm_name(enum rearm rearm)
{
    return names[rearm];
}

static bool bound_to_generic(const struct uio *uio)
{
    char path[PATH_MAX], target[PATH_MAX];
    ssize_t n;

    snprintf(path, sizeof(path), "%s/device/driver", uio->folder);
    n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    return strstr(target, "/uio_pci_generic") != NULL;
}

static int open_config(struct uio *uio)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/device/config", uio->folder);
    uio->config = hal_open_node(path, O_RDWR);
    return uio->config < 0 ? uio->config : 0;
}

static int set_word(struct hal_device *dev, bool on)
{
    int32_t word = on;

    return write(hal_device_fd(dev), &word, sizeof(word)) < 0 ? -errno : 0;
}

static int set_command(const struct uio *uio, bool on)
{
    uint8_t command[2];

    if (pread(uio->config, command, 2, PCI_COMMAND) != 2)
        return -errno;
    command[1] &= (uint8_t) ~(PCI_COMMAND_INTX_DISABLE >> 8);
    if (!on)
        command[1] |= PCI_COMMAND_INTX_DISABLE >> 8;
    return pwrite(uio->config, command, 2, PCI_COMMAND) == 2 ? 0 : -errno;
}

/* Whether the kernel's driver takes a word: it answers -ENOSYS when it has no irqcontrol. */
static int choose(struct hal_device *dev, struct uio *uio)
{
    int err;

    if (bound_to_generic(uio)) {
        uio->rearm = REARM_PCI;
        return 0;
    }
    err = set_word(dev, true);
    uio->rearm = err ? REARM_NONE : REARM_WRITE;
    return err == -ENOSYS || err == -EIO ? 0 : err; /* EIO: it has no interrupt at all */
}

int rearm_init(struct hal_device *dev, struct uio *uio)
{
    struct hal_value asked;
    int err = 0;

    hal_device_option(dev, "rearm", &asked);
    uio->config = -1;
    if (!strcmp(asked.s, "auto"))
        err = choose(dev, uio);
    for (enum rearm i = REARM_NONE; i <= REARM_PCI; i++)
        if (!strcmp(asked.s, names[i]))
            uio->rearm = i;
    if (!err && uio->rearm == REARM_PCI)
        err = open_config(uio);
    if (!err)
        err = rearm_set(dev, true);
    if (err)
        rearm_fini(uio);
    return err;
}

void rearm_fini(struct uio *uio)
{
    if (uio->config >= 0)
        close(uio->config);
    uio->config = -1;
}

int rearm_set(struct hal_device *dev, bool on)
{
    struct uio *uio = uio_of(dev);
    int err = 0;

    if (uio->rearm == REARM_WRITE)
        err = set_word(dev, on);
    else if (uio->rearm == REARM_PCI)
        err = set_command(uio, on);
    if (err == -ENOSYS)
        return hal_fail(err, "arm", hal_device_uri(dev),
                        "the kernel's driver has no irqcontrol: open with rearm=none or rearm=pci");
    if (!err)
        atomic_store(&uio->armed, on);
    return err ? hal_fail(err, "arm", hal_device_uri(dev), NULL) : 0;
}
