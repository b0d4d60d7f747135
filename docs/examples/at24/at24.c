/* SPDX-License-Identifier: Apache-2.0 */
/*
 * at24: a serial EEPROM of the AT24 family (24C01 .. 24CM02) on an I2C bus.
 *
 *     at24:1/0x50                          256 bytes in pages of 8 (24C02)
 *     at24:1/0x50?size=4096&page=32        24C32
 *
 * It stands on the driver i2c, whose device it opens as any program would; docs/drivers.md walks
 * through it. hal_read_at() and hal_write_at() reach any byte; hal_read() and hal_write() go on
 * from the attribute `position`. A write returns when the chip has stored it, or, at its deadline,
 * what the chip has taken by then.
 *
 * Sources: Microchip AT24C01C/AT24C02C (DS20006127), AT24C32E (DS20006231), AT24CM02 (DS20006197).
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#define PAGE_MAX 256
#define READ_MAX 8192           /* bytes of one message */
#define PATIENCE_NS 100000000   /* a chip that stores answers nobody, for 5 to 10 ms */
#define BETWEEN_POLLS_NS 500000 /* how long the bus is left to others meanwhile */

struct at24 {
    hal_handle i2c;
    uint64_t size;
    uint64_t page;
    uint32_t address;     /* of the chip on the bus */
    unsigned offset_size; /* bytes of an offset on the wire: 1 up to 2 KiB, else 2 */
    _Atomic uint64_t position;
};

static struct at24 *at24_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- on the bus ------------------------------------------------------------------------------ */

/* An offset as the chip gets it: the low bytes as data, the bits above them in the address. */
static uint32_t put_offset(const struct at24 *chip, uint64_t offset, uint8_t *out)
{
    for (unsigned i = 0; i < chip->offset_size; i++)
        out[i] = (uint8_t)(offset >> 8 * (chip->offset_size - 1 - i));
    return chip->address + (uint32_t)(offset >> 8 * chip->offset_size);
}

/* Leave the bus alone for a moment; 0, or why the caller should stop. */
static int pause_polling(struct hal_device *dev, enum hal_lane lane, hal_deadline until)
{
    hal_deadline next = hal_after(BETWEEN_POLLS_NS);
    int err = hal_device_wait(dev, lane, -1, 0, next < until ? next : until);

    return err == -ETIMEDOUT && next < until ? 0 : err < 0 ? err : 0;
}

/*
 * A transaction, tried again as long as nobody acknowledges: the chip stores a page then. That is
 * the acknowledge polling of the data sheets. A chip that is silent for longer is not there.
 */
static int exchange(struct hal_device *dev, enum hal_lane lane, const struct hal_segment *segments,
                    size_t count, hal_deadline until)
{
    hal_deadline patience = hal_after(PATIENCE_NS);

    for (;;) {
        ssize_t n = hal_transfer(at24_of(dev)->i2c, segments, count, until);
        if (n >= 0)
            return 0;
        if (n != -EREMOTEIO || hal_now() >= patience)
            return hal_fail_forward((int)n); /* worded by the driver i2c */
        int err = pause_polling(dev, lane, until);
        if (err)
            return err;
    }
}

/* Up to len bytes at an offset, in one transaction: write the offset, repeated start, read. */
static ssize_t read_some(struct hal_device *dev, enum hal_lane lane, uint8_t *buf, size_t len,
                         uint64_t offset, hal_deadline until)
{
    struct at24 *chip = at24_of(dev);
    uint64_t block = UINT64_C(1) << 8 * chip->offset_size; /* what one address reaches */
    uint64_t left = block - offset % block;
    uint8_t start[2];
    uint32_t address = put_offset(chip, offset, start);
    int err;

    len = len < left ? len : (size_t)left;
    len = len < READ_MAX ? len : READ_MAX;
    const struct hal_segment segments[] = {
        {.tx = start, .len = chip->offset_size, .address = address},
        {.rx = buf, .len = len, .address = address},
    };
    err = exchange(dev, lane, segments, 2, until);
    return err ? err : (ssize_t)len;
}

/* Up to a page's end: behind it the chip would go on at the page's beginning. */
static ssize_t write_page(struct hal_device *dev, const uint8_t *buf, size_t len, uint64_t offset,
                          hal_deadline until)
{
    struct at24 *chip = at24_of(dev);
    uint64_t left = chip->page - offset % chip->page;
    uint8_t message[2 + PAGE_MAX];
    struct hal_segment segment = {.tx = message, .address = put_offset(chip, offset, message)};
    int err;

    len = len < left ? len : (size_t)left;
    memcpy(message + chip->offset_size, buf, len);
    segment.len = chip->offset_size + len;
    err = exchange(dev, HAL_LANE_WRITE, &segment, 1, until);
    return err ? err : (ssize_t)len;
}

/* An offset alone changes nothing, and is answered when the chip has stored what it took. */
static int await_stored(struct hal_device *dev, hal_deadline until)
{
    static const uint8_t start[2] = {0, 0};
    const struct hal_segment segment = {.tx = start, .len = at24_of(dev)->offset_size};

    return exchange(dev, HAL_LANE_WRITE, &segment, 1, until);
}

/* Did we stop waiting, rather than the chip fail? It has the page then, and goes on storing it. */
static bool gave_up(int err)
{
    return err == -ETIMEDOUT || err == -EAGAIN || err == -ECANCELED || err == -EINTR;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* What fits behind the offset; 0 at the end of the chip, -ERANGE beyond it. */
static ssize_t clip(struct hal_device *dev, const char *operation, size_t len, uint64_t offset)
{
    uint64_t size = at24_of(dev)->size;

    if (offset > size)
        return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                              "offset %llu is beyond the %llu bytes of the chip",
                              (unsigned long long)offset, (unsigned long long)size);
    return (ssize_t)(len < size - offset ? len : size - offset);
}

static ssize_t at24_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                            hal_deadline until)
{
    ssize_t total = clip(dev, "read", len, offset), done = 0;

    while (done < total) {
        ssize_t n = read_some(dev, HAL_LANE_READ, (uint8_t *)buf + done, (size_t)(total - done),
                              offset + (uint64_t)done, until);
        if (n < 0)
            return done ? done : n;
        done += n;
    }
    return total < 0 ? total : done;
}

static ssize_t at24_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                             hal_deadline until)
{
    ssize_t total = clip(dev, "write", len, offset), done = 0;

    if (!total)
        return hal_fail(-ENOSPC, "write", hal_device_uri(dev), "offset %llu is the chip's end",
                        (unsigned long long)offset);
    while (done < total) {
        ssize_t n = write_page(dev, (const uint8_t *)buf + done, (size_t)(total - done),
                               offset + (uint64_t)done, until);
        int err = n < 0 ? (int)n : await_stored(dev, until);
        if (!err || (n > 0 && gave_up(err)))
            done += n;
        if (err)
            return done ? done : err;
    }
    return total < 0 ? total : done;
}

static ssize_t at24_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = at24_read_at(dev, buf, len, at24_of(dev)->position, until);

    if (n > 0)
        at24_of(dev)->position += (uint64_t)n;
    return n;
}

static ssize_t at24_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    ssize_t n = at24_write_at(dev, buf, len, at24_of(dev)->position, until);

    if (n > 0)
        at24_of(dev)->position += (uint64_t)n;
    return n;
}

/* A memory is always ready. */
static int at24_poll(struct hal_device *dev, int events)
{
    (void)dev;
    return events & (POLLIN | POLLOUT);
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static int check_geometry(struct hal_device *dev, struct at24 *chip)
{
    struct hal_value size, page;

    hal_device_option(dev, "size", &size);
    hal_device_option(dev, "page", &page);
    if (!is_power_of_two((uint64_t)size.i) || !is_power_of_two((uint64_t)page.i) || page.i > size.i)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "size %lld, page %lld: both are powers of two, a page is no larger "
                              "than the chip (data sheet)",
                              (long long)size.i, (long long)page.i);
    chip->size = (uint64_t)size.i;
    chip->page = (uint64_t)page.i;
    chip->offset_size = chip->size > 2048 ? 2 : 1;
    return 0;
}

/* The I2C device, and a look whether the chip is there: one byte is read. */
static int connect_chip(struct hal_device *dev, struct at24 *chip)
{
    hal_deadline until = hal_device_open_deadline(dev);
    char uri[HAL_URI_MAX + 1], quoted[HAL_URI_MAX + 1];
    int64_t address;
    uint8_t byte;
    int err;

    err = (int)hal_uri_quote(hal_device_address(dev), quoted, sizeof(quoted));
    if (err < 0 || snprintf(uri, sizeof(uri), "i2c:%s", quoted) >= (int)sizeof(uri))
        return hal_fail(-ENAMETOOLONG, "open", hal_device_uri(dev), NULL);
    chip->i2c = hal_open(uri, until);
    if (chip->i2c < 0)
        return hal_fail_forward((int)chip->i2c);
    err = hal_get_int(chip->i2c, "address", &address, until);
    if (err)
        return hal_fail_forward(err);
    if (address < 0)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which chip on the bus? at24:BUS/0xADDR, mostly 0x50 .. 0x57");
    chip->address = (uint32_t)address;
    err = (int)read_some(dev, HAL_LANE_CONTROL, &byte, 1, 0, until);
    return err < 0 ? err : 0;
}

static void discard(struct at24 *chip)
{
    if (chip->i2c > 0)
        hal_close(chip->i2c);
    free(chip);
}

static int at24_init(struct hal_device *dev)
{
    struct at24 *chip = calloc(1, sizeof(*chip));
    int err;

    if (!chip)
        return -ENOMEM;
    hal_device_set_state(dev, chip);
    err = check_geometry(dev, chip);
    if (!err)
        err = connect_chip(dev, chip);
    if (err)
        discard(chip);
    return err;
}

static void at24_fini(struct hal_device *dev)
{
    discard(at24_of(dev));
}

/* ---- attributes ------------------------------------------------------------------------------ */

static int get_size(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)at24_of(dev)->size;
    return 0;
}

static int get_page(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)at24_of(dev)->page;
    return 0;
}

static int get_position(struct hal_device *dev, const struct hal_attribute *attr,
                        struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)at24_of(dev)->position;
    return 0;
}

static int set_position(struct hal_device *dev, const struct hal_attribute *attr,
                        const struct hal_value *value)
{
    ssize_t err = clip(dev, "set position", 0, (uint64_t)value->i);

    (void)attr;
    if (err < 0)
        return (int)err;
    at24_of(dev)->position = (uint64_t)value->i;
    hal_device_drop_input(dev); /* what hal_read_until() has read ahead is of the old place */
    return 0;
}

static const struct hal_attribute attributes[] = {
    {
        .name = "size",
        .unit = "B",
        .doc = "Bytes of the chip.",
        .type = HAL_TYPE_INT,
        .access = HAL_ATTR_READ | HAL_ATTR_OPEN,
        .min = 128,
        .max = 1 << 18,
        .initial = "256",
        .get = get_size,
    },
    {
        .name = "page",
        .unit = "B",
        .doc = "Bytes that the chip stores at once.",
        .type = HAL_TYPE_INT,
        .access = HAL_ATTR_READ | HAL_ATTR_OPEN,
        .min = 1,
        .max = PAGE_MAX,
        .initial = "8",
        .get = get_page,
    },
    {
        .name = "position",
        .unit = "B",
        .doc = "Where the next read or write goes on.",
        .type = HAL_TYPE_INT,
        .access = HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN,
        .min = 0,
        .max = 1 << 18,
        .get = get_position,
        .set = set_position,
    },
};

static const struct hal_match matches[] = {
    {"subsystem:i2c of:atmel,24c*", "{bus}/{address}", "in the device tree"},
    {"subsystem:i2c i2c:24c*", "{bus}/{address}", "by new_device or ACPI"},
};

static const struct driver_ops at24_ops = {
    .init = at24_init,
    .read = at24_read,
    .write = at24_write,
    .fini = at24_fini,
    .poll = at24_poll,
    .read_at = at24_read_at,
    .write_at = at24_write_at,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Serial EEPROMs of the AT24 family, on I2C",
    .address = "BUS/0xADDR",
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("at24", &at24_ops, "0.1.0");
