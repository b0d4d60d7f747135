/* SPDX-License-Identifier: Apache-2.0 */
/* PCI functions: opened once by this process, shared by its handles.
 * Source: Documentation/driver-api/vfio.rst; PCI 3.0, 6.2. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio.h"

#define PCI_COMMAND 4

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* of all that handles share */
static struct function *functions;
static struct vfio *handles;

/* ---- fork(2) -----------------------------------------------------------------------------------
 * A child is no user of the IOMMU: what it inherited would only keep the device from others. */

static void before_fork(void)
{
    pthread_mutex_lock(&table);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&table);
}

static void close_function(struct function *function)
{
    if (function->gone >= 0)
        close(function->gone);
    close(function->fd);
    free(function);
}

static void after_fork_child(void)
{
    for (; handles; handles = handles->next)
        if (handles->interrupt.event >= 0)
            close(handles->interrupt.event);
    while (functions) {
        struct function *next = functions->next;
        close_function(functions);
        functions = next;
    }
    space_forget_all();
    pthread_mutex_unlock(&table);
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void function_lock(void)
{
    pthread_mutex_lock(&table);
}

void function_unlock(void)
{
    pthread_mutex_unlock(&table);
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static int read_facts(struct hal_device *dev, struct function *function)
{
    struct vfio_device_info info = {.argsz = sizeof(info)};
    struct vfio_region_info config = {.argsz = sizeof(config),
                                      .index = VFIO_PCI_CONFIG_REGION_INDEX};

    if (ioctl(function->fd, VFIO_DEVICE_GET_INFO, &info))
        return hal_fail(-errno, "open", hal_device_uri(dev), "facts about the device");
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
        return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev), "it is no PCI device");
    if (ioctl(function->fd, VFIO_DEVICE_GET_REGION_INFO, &config))
        return hal_fail(-errno, "open", hal_device_uri(dev), "its configuration space");
    function->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
    function->config = config.offset;
    return 0;
}

static int open_function(struct hal_device *dev, const struct place *place, enum backend backend,
                         struct function *function)
{
    int err = space_get(dev, place, backend, &function->space);

    if (err)
        return err;
    function->fd = space_open_function(dev, place, function->space);
    if (function->fd < 0) {
        err = function->fd;
        goto err_put_space;
    }
    err = space_read_ranges(dev, function->space);
    if (!err)
        err = read_facts(dev, function);
    if (err)
        goto err_close;
    return 0;
err_close:
    close(function->fd);
err_put_space:
    space_put(function->space);
    return err;
}

static int make(struct hal_device *dev, const struct place *place, enum backend backend,
                struct function **out)
{
    struct function *function = calloc(1, sizeof(*function));
    int err;

    if (!function)
        return -ENOMEM;
    strcpy(function->address, place->address);
    function->gone = function->irq = -1;
    err = open_function(dev, place, backend, function);
    if (err) {
        free(function);
        return err;
    }
    function->next = functions;
    functions = function;
    *out = function;
    return 0;
}

static int find(struct hal_device *dev, const struct place *place, enum backend asked,
                struct function **out)
{
    for (*out = functions; *out; *out = (*out)->next)
        if (!strcmp((*out)->address, place->address))
            break;
    if (!*out)
        return make(dev, place, asked, out);
    if (asked != BACKEND_AUTO && asked != (*out)->space->backend)
        return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                              "this process has opened it with backend=%s",
                              backend_name((*out)->space->backend));
    return 0;
}

int function_get(struct hal_device *dev, const struct place *place, enum backend backend,
                 struct vfio *vfio)
{
    int err;

    function_lock();
    err = find(dev, place, backend, &vfio->function);
    if (!err) {
        vfio->function->references++;
        vfio->next = handles;
        handles = vfio;
    }
    function_unlock();
    return err;
}

void function_put(struct vfio *vfio)
{
    struct function *function = vfio->function, **at = &functions;
    struct vfio **handle = &handles;

    function_lock();
    while (*handle != vfio)
        handle = &(*handle)->next;
    *handle = vfio->next;
    if (!--function->references) {
        while (*at != function)
            at = &(*at)->next;
        *at = function->next;
        /* The space last: a device that its address space is taken from would write anywhere. */
        struct space *space = function->space;
        close_function(function);
        space_put(space);
    }
    function_unlock();
}

/* ---- the command register ----------------------------------------------------------------------
 */

static int command(struct hal_device *dev, const struct function *function, uint16_t *value,
                   bool write)
{
    off_t at = (off_t)(function->config + PCI_COMMAND);
    uint8_t bytes[2] = {(uint8_t)*value, (uint8_t)(*value >> 8)};
    ssize_t n = write ? pwrite(function->fd, bytes, 2, at) : pread(function->fd, bytes, 2, at);

    if (n != 2)
        return hal_fail(n < 0 ? -errno : -EIO, write ? "write" : "read", hal_device_uri(dev),
                        "the command register in configuration space");
    *value = (uint16_t)(bytes[0] | bytes[1] << 8);
    return 0;
}

int function_command_get(struct hal_device *dev, const struct function *function, uint16_t *out)
{
    return command(dev, function, out, false);
}

int function_command(struct hal_device *dev, const struct function *function, uint16_t bits,
                     bool on)
{
    uint16_t before = 0, after;
    int err;

    function_lock();
    err = command(dev, function, &before, false);
    after = on ? before | bits : before & (uint16_t)~bits;
    if (!err && after != before)
        err = command(dev, function, &after, true);
    function_unlock();
    return err;
}

int function_reset(struct hal_device *dev)
{
    const struct function *function = vfio_of(dev)->function;

    if (!function->can_reset)
        return hal_fail(-EOPNOTSUPP, "reset", hal_device_uri(dev),
                        "the function has no reset of its own (neither FLR nor by power state), "
                        "and its bus is not for it alone");
    if (ioctl(function->fd, VFIO_DEVICE_RESET))
        return hal_fail(-errno, "reset", hal_device_uri(dev), NULL);
    return 0;
}
