/* SPDX-License-Identifier: Apache-2.0 */
/* From segments to spidev's messages, within its limits. */
#include <errno.h>
#include <sys/ioctl.h>

#include "spi.h"

/* The kernel rounds each segment up for DMA: to 8 bytes on x86, to 128 on AArch64. */
#define SEGMENT_ALIGN 128
#define WORD_DELAY_MAX 255 /* microseconds: the kernel has a byte for it */

/* ---- one segment ---- */

static int refuse(struct hal_device *dev, int err, const char *operation, size_t index,
                  const char *why)
{
    return hal_fail_plain(err, operation, hal_device_uri(dev), "segment %zu: %s", index, why);
}

static bool lanes_exist(unsigned lanes)
{
    return lanes == 0 || lanes == 1 || lanes == 2 || lanes == 4 || lanes == 8;
}

static int check_segment(struct hal_device *dev, const struct hal_segment *segment, size_t index,
                         const char *operation)
{
    if (segment->address || segment->flags & (HAL_SEGMENT_NO_START | HAL_SEGMENT_IGNORE_NAK))
        return refuse(dev, -EINVAL, operation, index,
                      "addresses, starts and acknowledges are of I2C");
    if (segment->flags & ~(uint32_t)HAL_SEGMENT_CS_CHANGE)
        return refuse(dev, -EINVAL, operation, index, "unknown flags");
    if (segment->len && !segment->tx && !segment->rx)
        return refuse(dev, -EINVAL, operation, index, "neither tx nor rx");
    if (segment->word_delay_us > WORD_DELAY_MAX)
        return refuse(dev, -ERANGE, operation, index, "a word delay has 255 us at most");
    if (!lanes_exist(segment->lanes_tx) || !lanes_exist(segment->lanes_rx))
        return refuse(dev, -EINVAL, operation, index, "there are 1, 2, 4 or 8 lanes");
    if (segment->tx && segment->rx && (segment->lanes_tx > 1 || segment->lanes_rx > 1))
        return refuse(dev, -EINVAL, operation, index,
                      "several lanes go one way at a time: give tx or rx");
    return 0;
}

/* Full duplex has one lane each way; only what goes one way uses as many as there are. */
static uint8_t lanes(const struct hal_segment *segment, uint8_t asked, uint8_t usual)
{
    if (asked)
        return asked;
    return segment->tx && segment->rx ? 1 : usual;
}

static struct spi_ioc_transfer convert(const struct spi *spi, const struct hal_segment *segment)
{
    return (struct spi_ioc_transfer){
        .tx_buf = (uintptr_t)segment->tx,
        .rx_buf = (uintptr_t)segment->rx,
        .len = (uint32_t)segment->len,
        .speed_hz = segment->speed_hz,
        .delay_usecs = segment->delay_us
                           ? segment->delay_us
                           : atomic_load_explicit(&spi->delay_us, memory_order_relaxed),
        .bits_per_word = segment->bits,
        .cs_change = segment->flags & HAL_SEGMENT_CS_CHANGE ? 1 : 0,
        .tx_nbits = lanes(segment, segment->lanes_tx,
                          atomic_load_explicit(&spi->lanes_tx, memory_order_relaxed)),
        .rx_nbits = lanes(segment, segment->lanes_rx,
                          atomic_load_explicit(&spi->lanes_rx, memory_order_relaxed)),
        .word_delay_usecs = segment->word_delay_us
                                ? (uint8_t)segment->word_delay_us
                                : atomic_load_explicit(&spi->word_delay_us, memory_order_relaxed),
    };
}

/* ---- what the kernel refused ---- */

static int explain_segment(struct hal_device *dev, const struct spi_ioc_transfer *transfer,
                           size_t index, const struct settings *settings, const char *operation)
{
    unsigned bits = transfer->bits_per_word ? transfer->bits_per_word : settings->bits;
    unsigned width = bits <= 8 ? 1 : bits <= 16 ? 2 : 4;
    const char *uri = hal_device_uri(dev);

    if (bits > 32)
        return hal_fail_plain(-EINVAL, operation, uri, "segment %zu: words of %u bits; 32 at most",
                              index, bits);
    if (transfer->len % width)
        return hal_fail_plain(-EINVAL, operation, uri,
                              "segment %zu: %u bytes are no whole number of %u-bit words, which "
                              "take %u bytes each",
                              index, transfer->len, bits, width);
    if (transfer->tx_buf && transfer->rx_buf && settings->mode & SPI_3WIRE)
        return hal_fail_plain(-EINVAL, operation, uri,
                              "segment %zu: three_wire sends or receives, not both at once", index);
    if (transfer->tx_buf && transfer->tx_nbits > lanes_tx_of(settings->mode))
        return hal_fail_plain(-EINVAL, operation, uri,
                              "segment %zu: %u lanes to send; set lanes_tx first", index,
                              transfer->tx_nbits);
    if (transfer->rx_buf && transfer->rx_nbits > lanes_rx_of(settings->mode))
        return hal_fail_plain(-EINVAL, operation, uri,
                              "segment %zu: %u lanes to receive; set lanes_rx first", index,
                              transfer->rx_nbits);
    return 0;
}

/* The kernel says EINVAL for many things, and which one only the controller's driver may know. */
static int explain_invalid(struct hal_device *dev, const struct spi_ioc_transfer *transfers,
                           size_t count, const char *operation)
{
    struct settings settings;
    int err = settings_load(hal_device_fd(dev), &settings);

    for (size_t i = 0; i < count && !err; i++)
        err = explain_segment(dev, &transfers[i], i, &settings, operation);
    if (err)
        return err;
    return hal_fail(-EINVAL, operation, hal_device_uri(dev),
                    "the controller cannot do it: a speed below its lowest (set: %u Hz), a word "
                    "size it lacks (set: %u bits), or full duplex",
                    settings.speed, settings.bits);
}

/* ---- one message ---- */

static int fail_too_long(struct hal_device *dev, const char *operation, size_t bytes)
{
    const struct spi *spi = hal_device_state(dev);

    return hal_fail_plain(
        -EMSGSIZE, operation, hal_device_uri(dev),
        "%zu bytes under one chip select; spidev takes %u each way in a message (segments rounded "
        "up to 8 .. 128). Release the chip select in between (HAL_SEGMENT_CS_CHANGE), or load "
        "spidev with a larger bufsiz (kernel parameter spidev.bufsiz=65536)",
        bytes, spi->limit);
}

static size_t total(const struct spi_ioc_transfer *transfers, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += transfers[i].len;
    return bytes;
}

static ssize_t send_message(struct hal_device *dev, struct spi_ioc_transfer *transfers,
                            size_t count, const char *operation)
{
    unsigned long request = _IOC(_IOC_WRITE, SPI_IOC_MAGIC, 0, count * sizeof(*transfers));
    int moved;

    /* At the end of a message the chip select is released by itself; there the bit means the
     * opposite. */
    transfers[count - 1].cs_change = 0;
    moved = ioctl(hal_device_fd(dev), request, transfers);
    if (moved >= 0)
        return moved;
    if (errno == EINVAL)
        return explain_invalid(dev, transfers, count, operation);
    if (errno == EMSGSIZE)
        return fail_too_long(dev, operation, total(transfers, count));
    return spi_fail(dev, -errno, operation);
}

/* ---- several messages ---- */

/* Bytes in each direction, as the kernel may count them. */
struct load {
    size_t tx, rx;
};

static size_t rounded(size_t len)
{
    return (len + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
}

static void add(struct load *load, const struct spi_ioc_transfer *transfer)
{
    load->tx += transfer->tx_buf ? rounded(transfer->len) : 0;
    load->rx += transfer->rx_buf ? rounded(transfer->len) : 0;
}

static bool fits(const struct spi *spi, const struct load *load)
{
    return load->tx <= spi->limit && load->rx <= spi->limit;
}

/* How many of the segments go until the chip select is released. */
static size_t group(const struct spi_ioc_transfer *transfers, size_t count, bool no_cs)
{
    size_t n = 1;

    while (n < count && !transfers[n - 1].cs_change && !no_cs)
        n++;
    return n;
}

/* The segments of the next message: as many whole groups as fit; 0 when the first is too long. */
static size_t next_message(const struct spi *spi, const struct spi_ioc_transfer *transfers,
                           size_t count, bool no_cs)
{
    struct load load = {0, 0};
    size_t n = 0;

    while (n < count) {
        size_t more = group(transfers + n, count - n, no_cs);
        for (size_t i = n; i < n + more; i++)
            add(&load, &transfers[i]);
        if (!fits(spi, &load))
            break;
        n += more;
    }
    return n;
}

/* Nothing is sent unless all of it can be. */
static int check_split(struct hal_device *dev, const struct spi_ioc_transfer *transfers,
                       size_t count, bool no_cs, const char *operation)
{
    const struct spi *spi = hal_device_state(dev);

    for (size_t at = 0, n; at < count; at += n) {
        n = next_message(spi, transfers + at, count - at, no_cs);
        if (!n)
            return fail_too_long(dev, operation,
                                 total(transfers + at, group(transfers + at, count - at, no_cs)));
    }
    return 0;
}

static ssize_t send_split(struct hal_device *dev, struct spi_ioc_transfer *transfers, size_t count,
                          const char *operation)
{
    const struct spi *spi = hal_device_state(dev);
    struct settings settings;
    int err = settings_load(hal_device_fd(dev), &settings);
    bool no_cs = !err && settings.mode & SPI_NO_CS;
    ssize_t moved = 0, got;

    if (err)
        return spi_fail(dev, err, operation);
    err = check_split(dev, transfers, count, no_cs, operation);
    if (err)
        return err;
    for (size_t at = 0, n; at < count; at += n) {
        n = next_message(spi, transfers + at, count - at, no_cs);
        got = send_message(dev, transfers + at, n, operation);
        if (got < 0)
            return got;
        moved += got;
    }
    return moved;
}

/* ---- the whole ---- */

static int check_time(hal_deadline until)
{
    bool bounded = until > HAL_NOWAIT && until != HAL_FOREVER;

    return bounded && hal_now() >= until ? -ETIMEDOUT : 0;
}

ssize_t message_exchange(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                         const char *operation, hal_deadline until)
{
    struct spi_ioc_transfer transfers[MESSAGE_SEGMENTS_MAX];
    const struct spi *spi = hal_device_state(dev);
    size_t tx = 0, rx = 0;
    int err = check_time(until);

    if (count > MESSAGE_SEGMENTS_MAX)
        return hal_fail_plain(-EMSGSIZE, operation, hal_device_uri(dev),
                              "%zu segments; the kernel takes %d in a message", count,
                              MESSAGE_SEGMENTS_MAX);
    for (size_t i = 0; i < count && !err; i++) {
        err = check_segment(dev, &segments[i], i, operation);
        transfers[i] = convert(spi, &segments[i]);
        tx += segments[i].tx ? segments[i].len : 0;
        rx += segments[i].rx ? segments[i].len : 0;
    }
    if (err)
        return err;
    if (tx > spi->limit || rx > spi->limit)
        return send_split(dev, transfers, count, operation);
    return send_message(dev, transfers, count, operation);
}
