/* SPDX-License-Identifier: Apache-2.0 */
/* GPIO lines by the kernel's character device. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpio.h"

#define LOOK_NS 40000000 /* a wait sees a removal after this long */

/* ---- events ---- */

static uint32_t index_of(const struct gpio *gpio, uint32_t offset)
{
    uint32_t i = 0;

    while (i + 1 < gpio->count && gpio->offsets[i] != offset)
        i++;
    return i;
}

/* The kernel numbers the edges of a line without a gap and drops the oldest when its buffer is
 * full. The numbers among all lines may come out of order, so they prove no loss. */
static void convert(struct gpio *gpio, unsigned char *record)
{
    struct gpio_v2_line_event from;
    struct hal_gpio_event to = {0};

    memcpy(&from, record, sizeof(from));
    to.timestamp_ns = from.timestamp_ns;
    to.edge = from.id;
    to.offset = from.offset;
    to.index = index_of(gpio, from.offset);
    to.sequence = from.seqno;
    to.line_sequence = from.line_seqno;
    to.lost = from.line_seqno - gpio->seen[to.index] - 1;
    gpio->seen[to.index] = from.line_seqno;
    if (to.lost)
        atomic_fetch_add_explicit(&gpio->lost, to.lost, memory_order_relaxed);
    memcpy(record, &to, sizeof(to));
}

_Static_assert(sizeof(struct gpio_v2_line_event) == sizeof(struct hal_gpio_event),
               "events are converted in place");

/* The kernel (6.1) wakes nobody when the chip is removed, but a poll(2) that begins then is told.
 */
static int wait_event(struct hal_device *dev, hal_deadline until)
{
    const struct gpio *gpio = hal_device_state(dev);
    hal_deadline look;
    int rc;

    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    do {
        look = hal_after(LOOK_NS);
        rc =
            hal_device_wait(dev, HAL_LANE_READ, gpio->line_fd, POLLIN, look < until ? look : until);
    } while (rc == -ETIMEDOUT && look < until);
    return rc < 0 ? rc : 0;
}

static ssize_t read_events(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct gpio *gpio = hal_device_state(dev);
    ssize_t n;

    if (len < sizeof(struct hal_gpio_event))
        return hal_fail_plain(-EINVAL, "read", hal_device_uri(dev),
                              "room for %zu bytes; an event has %zu", len,
                              sizeof(struct hal_gpio_event));
    while ((n = read(gpio->line_fd, buf, len)) < 0) {
        int err = errno == EAGAIN ? wait_event(dev, until) : request_fail(dev, -errno, "read");
        if (err)
            return err;
    }
    for (ssize_t i = 0; i < n; i += (ssize_t)sizeof(struct hal_gpio_event))
        convert(gpio, (unsigned char *)buf + i);
    return n;
}

/* ---- levels ---- */

static ssize_t gpio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct hal_gpio_values values = {.mask = gpio->all};
    unsigned char *levels = buf;
    int err;

    if (gpio->events)
        return read_events(dev, buf, len, until);
    err = request_get(dev, &values, "read");
    if (err)
        return err;
    if (len > gpio->count)
        len = gpio->count;
    for (size_t i = 0; i < len; i++)
        levels[i] = values.bits >> i & 1;
    return (ssize_t)len;
}

/* A level for each line. More of them are taken one round after the other. */
static ssize_t gpio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct hal_gpio_values values = {.mask = gpio->all};
    const unsigned char *levels = buf;
    int err = request_need(dev, "write");

    (void)until;
    if (err)
        return err;
    if (len % gpio->count)
        return hal_fail_plain(-EINVAL, "write", hal_device_uri(dev),
                              "%zu bytes; the device has %u lines, and takes a byte for each", len,
                              gpio->count);
    for (unsigned i = 0; i < gpio->count; i++) {
        if (levels[i] > 1)
            return hal_fail_plain(-EINVAL, "write", hal_device_uri(dev),
                                  "a level is the byte 0 or 1; got 0x%02x", levels[i]);
        values.bits |= (uint64_t)levels[i] << i;
    }
    err = request_set(dev, &values, "write");
    return err ? err : (ssize_t)gpio->count;
}

/* Without edges: levels are always there. */
static int gpio_poll(struct hal_device *dev, int events)
{
    const struct gpio *gpio = hal_device_state(dev);

    if (!gpio->count || gpio->events)
        return 0;
    return events & (POLLIN | POLLOUT);
}

/* ---- information ---- */

static uint32_t line_flags(uint64_t kernel)
{
    static const struct {
        uint64_t from;
        uint32_t to;
    } map[] = {
        {GPIO_V2_LINE_FLAG_USED, HAL_GPIO_USED},
        {GPIO_V2_LINE_FLAG_OUTPUT, HAL_GPIO_OUTPUT},
        {GPIO_V2_LINE_FLAG_ACTIVE_LOW, HAL_GPIO_ACTIVE_LOW},
        {GPIO_V2_LINE_FLAG_OPEN_DRAIN, HAL_GPIO_OPEN_DRAIN},
        {GPIO_V2_LINE_FLAG_OPEN_SOURCE, HAL_GPIO_OPEN_SOURCE},
        {GPIO_V2_LINE_FLAG_BIAS_PULL_UP, HAL_GPIO_PULL_UP},
        {GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN, HAL_GPIO_PULL_DOWN},
        {GPIO_V2_LINE_FLAG_BIAS_DISABLED, HAL_GPIO_BIAS_OFF},
        {GPIO_V2_LINE_FLAG_EDGE_RISING, HAL_GPIO_EDGE_RISING},
        {GPIO_V2_LINE_FLAG_EDGE_FALLING, HAL_GPIO_EDGE_FALLING},
    };
    uint32_t flags = 0;

    for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
        if (kernel & map[i].from)
            flags |= map[i].to;
    return flags;
}

static int line_request(struct hal_device *dev, struct hal_gpio_line *out)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct gpio_v2_line_info info;
    int err;

    if (out->offset >= gpio->chip.lines)
        return hal_fail_plain(-ERANGE, "line info", hal_device_uri(dev),
                              "%s has lines 0 .. %u; there is no line %u", gpio->chip.name,
                              gpio->chip.lines - 1, out->offset);
    err = chip_line(gpio->chip_fd, out->offset, &info);
    if (err)
        return request_fail(dev, err, "line info");
    out->flags = line_flags(info.flags);
    out->debounce_us = out->reserved = 0;
    for (uint32_t i = 0; i < info.num_attrs && i < GPIO_V2_LINE_NUM_ATTRS_MAX; i++)
        if (info.attrs[i].id == GPIO_V2_LINE_ATTR_ID_DEBOUNCE)
            out->debounce_us = info.attrs[i].debounce_period_us;
    memcpy(out->name, info.name, sizeof(out->name));
    memcpy(out->consumer, info.consumer, sizeof(out->consumer));
    return 0;
}

static int chip_request(struct hal_device *dev, struct hal_gpio_chip *out)
{
    const struct gpio *gpio = hal_device_state(dev);

    memset(out, 0, sizeof(*out));
    out->lines = gpio->chip.lines;
    memcpy(out->name, gpio->chip.name, sizeof(out->name));
    memcpy(out->label, gpio->chip.label, sizeof(out->label));
    return 0;
}

static long gpio_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                         hal_deadline until)
{
    size_t wanted;

    (void)until;
    switch (request) {
    case HAL_GPIO_GET:
    case HAL_GPIO_SET:
        wanted = sizeof(struct hal_gpio_values);
        break;
    case HAL_GPIO_LINE:
        wanted = sizeof(struct hal_gpio_line);
        break;
    case HAL_GPIO_CHIP:
        wanted = sizeof(struct hal_gpio_chip);
        break;
    default:
        return -ENOTTY;
    }
    if (size != wanted)
        return hal_fail_plain(-EINVAL, "control", hal_device_uri(dev),
                              "the argument has %zu bytes where %zu belong", size, wanted);
    switch (request) {
    case HAL_GPIO_GET:
        return request_get(dev, arg, "get");
    case HAL_GPIO_SET:
        return request_set(dev, arg, "set");
    case HAL_GPIO_LINE:
        return line_request(dev, arg);
    default:
        return chip_request(dev, arg);
    }
}

/* ---- opening ---- */

static int open_lines(struct hal_device *dev, struct gpio *gpio)
{
    int err = chip_resolve(dev, gpio);

    if (!err)
        err = gpio_options(dev, gpio);
    if (err || !gpio->count)
        return err;
    err = request_lines(dev, gpio);
    if (!err && gpio->events)
        hal_device_set_fds(dev, gpio->line_fd, -1);
    return err;
}

/* The library closes the descriptor that it was given: that of events. */
static void gpio_free(struct gpio *gpio, bool given)
{
    if (gpio->line_fd >= 0 && !given)
        close(gpio->line_fd);
    if (gpio->chip_fd >= 0)
        close(gpio->chip_fd);
    free(gpio);
}

static int gpio_init(struct hal_device *dev)
{
    struct gpio *gpio = calloc(1, sizeof(*gpio));
    int err;

    if (!gpio)
        return -ENOMEM;
    gpio->chip_fd = gpio->line_fd = -1;
    hal_device_set_state(dev, gpio);
    err = open_lines(dev, gpio);
    if (err) {
        hal_device_set_state(dev, NULL);
        gpio_free(gpio, hal_device_fd(dev) >= 0);
    }
    return err;
}

static void gpio_fini(struct hal_device *dev)
{
    gpio_free(hal_device_state(dev), hal_device_fd(dev) >= 0);
}

static const struct hal_match matches[] = {
    {"subsystem:gpio", "{name}", "a GPIO chip"},
};

static const struct driver_ops gpio_ops = {
    .init = gpio_init,
    .read = gpio_read,
    .write = gpio_write,
    .fini = gpio_fini,
    .control = gpio_control,
    .poll = gpio_poll,
    .summary = "GPIO lines: levels, edges, information",
    .address = "CHIP/LINE,LINE or LINE",
    .attributes = gpio_attributes,
    .attribute_count = GPIO_ATTRIBUTES,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("gpio", &gpio_ops, "0.1.0");
