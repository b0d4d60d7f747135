/* SPDX-License-Identifier: Apache-2.0 */
/* How a device comes to be, and how it ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* ---- resolving ------------------------------------------------------------------------------ */

static bool has_option(const struct hal_uri *uri, const char *key)
{
    for (size_t i = 0; i < uri->option_count; i++)
        if (!strcmp(uri->options[i].key, key))
            return true;
    return false;
}

/* Append "?key=value" or "&key=value" to the URI in text. */
static int append_option(char *text, const struct hal_option *option)
{
    size_t used = strlen(text);
    int n = snprintf(text + used, HAL_URI_MAX + 1 - used, "%c%s=", strchr(text, '?') ? '&' : '?',
                     option->key);

    if (n < 0 || used + (size_t)n > HAL_URI_MAX)
        return -ENAMETOOLONG;
    used += (size_t)n;
    return hal_uri_quote(option->value, text + used, HAL_URI_MAX + 1 - used) < 0 ? -ENAMETOOLONG
                                                                                 : 0;
}

/* The bound URI without its options, then those the caller gave, then the rest of its own. */
static int merge_binding(const char *bound, const struct hal_uri *given, char *text)
{
    struct hal_uri base;
    int err = uri_parse(bound, &base);

    if (err)
        return err;
    snprintf(text, HAL_URI_MAX + 1, "%s", bound);
    text[strcspn(text, "?")] = '\0';
    for (size_t i = 0; i < base.option_count && !err; i++)
        if (!has_option(given, base.options[i].key))
            err = append_option(text, &base.options[i]);
    for (size_t i = 0; i < given->option_count && !err; i++)
        err = append_option(text, &given->options[i]);
    return err;
}

/* Fill dev->uri, address and parsed from what the caller named. */
static int resolve(struct hal_device *dev, const char *uri)
{
    char bound[HAL_URI_MAX + 1], text[HAL_URI_MAX + 1];
    int err;

    dev->parsed = malloc(sizeof(*dev->parsed));
    if (!dev->parsed)
        return -ENOMEM;
    err = uri_parse(uri, dev->parsed);
    if (!err && !*dev->parsed->address && binding_get(dev->parsed->driver, bound)) {
        err = merge_binding(bound, dev->parsed, text);
        uri = text;
        if (!err)
            err = uri_parse(text, dev->parsed);
    }
    if (err)
        return err;
    dev->uri = strdup(uri);
    dev->address = strdup(dev->parsed->address);
    return dev->uri && dev->address ? 0 : -ENOMEM;
}

/* ---- closing -------------------------------------------------------------------------------- */

/* Forgotten first: a child that is forked in between must not close what got their numbers. */
static void close_descriptors(struct hal_device *dev)
{
    int fd_in = dev->fd_in, fd_out = dev->fd_out;

    handle_set_fds(dev, -1, -1);
    dev->plain_in = dev->plain_out = -1;
    if (fd_in >= 0)
        close(fd_in);
    if (fd_out >= 0 && fd_out != fd_in)
        close(fd_out);
}

/* Give back all that open_device() and the driver's init took. Nobody else is in the device. */
static void release(struct hal_device *dev)
{
    close_descriptors(dev);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_fini(&dev->lanes[i]);
    buffer_release(dev);
    if (dev->driver)
        driver_put(dev->driver);
    dev->driver = NULL;
    dev->state = NULL;
    dev->served_by = NULL;
    dev->attributes = NULL;
    dev->attribute_count = 0;
    free(dev->parsed);
    free(dev->address);
    free(dev->uri);
    dev->parsed = NULL;
    dev->address = dev->uri = NULL;
}

static void finish_driver(struct hal_device *dev)
{
    if (dev->ops.fini)
        dev->ops.fini(dev);
}

int hal_close(hal_handle handle)
{
    struct hal_device *dev = handle_slot(handle);
    hal_handle open_handle = handle;

    if (!dev || atomic_load(&dev->fork_epoch) != atomic_load(&hal_fork_epoch))
        return handle_refuse(handle, "close");
    if (!atomic_compare_exchange_strong(&dev->handle, &open_handle, 0))
        return handle_refuse(handle, "close");
    device_cancel(dev);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++) {
        lane_enter_forever(&dev->lanes[i]);
        lane_begin(&dev->lanes[i], HAL_FOREVER);
    }
    device_await_guests(dev);
    finish_driver(dev);
    release(dev);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_leave(&dev->lanes[i]);
    handle_free(dev);
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* What init may ask for by hal_device_option() is checked before it runs. */
static int run_init(struct hal_device *dev)
{
    int err = attribute_check_options(dev);

    if (err)
        return err;
    err = dev->ops.init(dev);
    if (err > 0)
        return hal_fail_plain(-EPROTO, "open", dev->uri,
                              "init of driver \"%s\" returned %d, neither 0 nor a negative errno",
                              dev->driver->name, err);
    if (err)
        return err;
    err = attribute_check_table(dev->attributes, dev->attribute_count, "open", dev->uri);
    if (!err)
        err = attribute_apply_options(dev);
    if (err)
        finish_driver(dev);
    return err;
}

static int open_device(struct hal_device *dev, const char *uri, hal_deadline until)
{
    int err = resolve(dev, uri);

    if (!err)
        err = driver_find(dev->parsed->driver, dev->uri, &dev->driver);
    if (err)
        return err;
    dev->ops = dev->driver->ops;
    dev->open_deadline = until;
    lane_enter_forever(&dev->lanes[HAL_LANE_CONTROL]); /* a stale handle may look into it */
    lane_begin(&dev->lanes[HAL_LANE_CONTROL], until);
    err = run_init(dev);
    lane_leave(&dev->lanes[HAL_LANE_CONTROL]);
    return err;
}

hal_handle hal_open(const char *uri, hal_deadline until)
{
    uint32_t mark = error_begin();
    struct hal_device *dev = NULL;
    int err = uri ? handle_alloc(&dev) : hal_fail(-EFAULT, "open", NULL, "the URI is NULL");

    if (err || !dev)
        return error_end(mark, err, "open", uri);
    err = open_device(dev, uri, until);
    if (err) {
        error_end(mark, err, "open", uri);
        release(dev);
        handle_free(dev);
        return err;
    }
    free(dev->parsed);
    dev->parsed = NULL;
    if (dev->ops.flags & HAL_DRIVER_PLAIN_IO) {
        dev->plain_in = dev->fd_in;
        dev->plain_out = dev->fd_out;
    }
    return handle_publish(dev);
}
