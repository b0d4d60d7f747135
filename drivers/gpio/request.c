/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that the kernel has given us: their settings and levels. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "gpio.h"

#define ENOTSUPP_KERNEL 524 /* the kernel's own number, which some chip drivers let out */

#define DIRECTION (GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_OUTPUT)
#define EDGES (GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING)
#define DRIVES (GPIO_V2_LINE_FLAG_OPEN_DRAIN | GPIO_V2_LINE_FLAG_OPEN_SOURCE)
#define BIASES                                                                                     \
    (GPIO_V2_LINE_FLAG_BIAS_PULL_UP | GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN |                           \
     GPIO_V2_LINE_FLAG_BIAS_DISABLED)

/* ---- errors ---- */

/* Who has one of our lines already. */
static int say_busy(struct hal_device *dev, const char *operation)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct gpio_v2_line_info info;

    for (unsigned i = 0; i < gpio->count; i++) {
        if (chip_line(gpio->chip_fd, gpio->offsets[i], &info) != 0 ||
            !(info.flags & GPIO_V2_LINE_FLAG_USED))
            continue;
        if (*info.consumer)
            return hal_fail(-EBUSY, operation, hal_device_uri(dev), "line %u%s%s is held by \"%s\"",
                            info.offset, *info.name ? " " : "", info.name, info.consumer);
        return hal_fail(-EBUSY, operation, hal_device_uri(dev),
                        "line %u%s%s is held by somebody who gives no name", info.offset,
                        *info.name ? " " : "", info.name);
    }
    return hal_fail(-EBUSY, operation, hal_device_uri(dev), "a line is held");
}

int request_fail(struct hal_device *dev, int err, const char *operation)
{
    const char *uri = hal_device_uri(dev);

    switch (-err) {
    case EAGAIN:
    case EINTR:
        return err;
    case EBUSY:
        return say_busy(dev, operation);
    case ENODEV:
        return hal_fail(err, operation, uri, "the chip was removed");
    case EPERM:
        return hal_fail_plain(-EOPNOTSUPP, operation, uri,
                              "a line is no output; set direction=output");
    case ENXIO:
        return hal_fail(-EOPNOTSUPP, operation, uri,
                        "this line raises no interrupts, so its edges cannot be seen");
    case ENOTSUPP_KERNEL:
    case EOPNOTSUPP:
        return hal_fail_plain(-EOPNOTSUPP, operation, uri, "the chip cannot do that");
    default:
        return hal_fail(err, operation, uri, NULL);
    }
}

int request_need(struct hal_device *dev, const char *operation)
{
    const struct gpio *gpio = hal_device_state(dev);

    if (gpio->count)
        return 0;
    return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev),
                          "this is the chip alone; open lines of it, as in gpio:%s/0",
                          gpio->chip.name);
}

/* ---- settings ---- */

static int refuse(struct hal_device *dev, const char *operation, const char *why)
{
    return hal_fail_plain(-EINVAL, operation, hal_device_uri(dev), "%s", why);
}

int request_settle(struct hal_device *dev, struct gpio_config *config, const char *operation)
{
    if (!(config->flags & DIRECTION)) {
        if (config->flags & DRIVES)
            config->flags |= GPIO_V2_LINE_FLAG_OUTPUT;
        else if (config->flags & (EDGES | BIASES) || config->debounce_us)
            config->flags |= GPIO_V2_LINE_FLAG_INPUT;
    }
    if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT && config->flags & EDGES)
        return refuse(dev, operation, "edges are seen on inputs only; direction is output");
    if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT && config->debounce_us)
        return refuse(dev, operation, "inputs are debounced, not outputs");
    if (config->flags & GPIO_V2_LINE_FLAG_INPUT && config->flags & DRIVES)
        return refuse(dev, operation, "open drain and open source are of outputs");
    return 0;
}

static void fill(struct gpio_v2_line_config *out, const struct gpio_config *config, uint64_t all,
                 uint64_t driven)
{
    struct gpio_v2_line_config_attribute *attr = out->attrs;

    out->flags = config->flags;
    if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT) {
        attr->attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES;
        attr->attr.values = driven;
        attr++->mask = all;
    }
    if (config->debounce_us) {
        attr->attr.id = GPIO_V2_LINE_ATTR_ID_DEBOUNCE;
        attr->attr.debounce_period_us = config->debounce_us;
        attr++->mask = all;
    }
    out->num_attrs = (uint32_t)(attr - out->attrs);
}

int request_lines(struct hal_device *dev, struct gpio *gpio)
{
    struct gpio_v2_line_request request = {.num_lines = gpio->count};

    memcpy(request.offsets, gpio->offsets, gpio->count * sizeof(*gpio->offsets));
    memcpy(request.consumer, gpio->consumer, sizeof(request.consumer));
    request.event_buffer_size = gpio->event_buffer;
    fill(&request.config, &gpio->config, gpio->all, atomic_load(&gpio->driven));
    if (ioctl(gpio->chip_fd, GPIO_V2_GET_LINE_IOCTL, &request) < 0)
        return errno == EPERM ? hal_fail(-EPERM, "open", hal_device_uri(dev),
                                         "the kernel keeps this line to itself")
                              : request_fail(dev, -errno, "open");
    gpio->line_fd = request.fd;
    if (fcntl(request.fd, F_SETFL, fcntl(request.fd, F_GETFL) | O_NONBLOCK) < 0)
        return hal_fail(-errno, "open", hal_device_uri(dev), NULL);
    return 0;
}

static int set_levels(const struct gpio *gpio, uint64_t mask, uint64_t bits)
{
    struct gpio_v2_line_values levels = {.mask = mask, .bits = bits};

    return ioctl(gpio->line_fd, GPIO_V2_LINE_SET_VALUES_IOCTL, &levels) < 0 ? -errno : 0;
}

/* The kernel wants the levels of outputs with every change. A write that comes at the same time
 * must not be undone: it notes its levels first, so what we gave too early is seen here. */
int request_configure(struct hal_device *dev, const struct gpio_config *config,
                      const char *operation)
{
    struct gpio *gpio = hal_device_state(dev);
    struct gpio_v2_line_config lines = {0};
    uint64_t given = atomic_load(&gpio->driven), now;
    int err = 0;

    fill(&lines, config, gpio->all, given);
    if (ioctl(gpio->line_fd, GPIO_V2_LINE_SET_CONFIG_IOCTL, &lines) < 0)
        return request_fail(dev, -errno, operation);
    gpio->config = *config;
    while (config->flags & GPIO_V2_LINE_FLAG_OUTPUT && !err &&
           (now = atomic_load(&gpio->driven)) != given) {
        err = set_levels(gpio, gpio->all, now);
        given = now;
    }
    return err ? request_fail(dev, err, operation) : 0;
}

/* ---- levels ---- */

static int check_mask(struct hal_device *dev, uint64_t mask, const char *operation)
{
    const struct gpio *gpio = hal_device_state(dev);

    if (mask && !(mask & ~gpio->all))
        return 0;
    if (!gpio->count)
        return request_need(dev, operation);
    return hal_fail_plain(-EINVAL, operation, hal_device_uri(dev),
                          "the mask 0x%llx names %s; the device has %u line(s), bits 0 .. %u",
                          (unsigned long long)mask, mask ? "lines beyond the last" : "no line",
                          gpio->count, gpio->count - 1);
}

int request_get(struct hal_device *dev, struct hal_gpio_values *values, const char *operation)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct gpio_v2_line_values levels = {.mask = values->mask};
    int err = check_mask(dev, values->mask, operation);

    if (err)
        return err;
    if (ioctl(gpio->line_fd, GPIO_V2_LINE_GET_VALUES_IOCTL, &levels) < 0)
        return request_fail(dev, -errno, operation);
    values->bits = levels.bits & values->mask;
    return 0;
}

int request_set(struct hal_device *dev, const struct hal_gpio_values *values, const char *operation)
{
    struct gpio *gpio = hal_device_state(dev);
    uint64_t on = values->bits & values->mask;
    int err = check_mask(dev, values->mask, operation);

    if (err)
        return err;
    atomic_fetch_and(&gpio->driven, ~values->mask);
    atomic_fetch_or(&gpio->driven, on);
    err = set_levels(gpio, values->mask, on);
    return err ? request_fail(dev, err, operation) : 0;
}
