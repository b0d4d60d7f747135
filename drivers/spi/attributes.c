/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of a chip select. Each is read back, since the kernel drops without an error what the
 * controller cannot do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "spi.h"

/* ---- what the kernel keeps ---- */

int settings_load(int fd, struct settings *out)
{
    if (ioctl(fd, SPI_IOC_RD_MODE32, &out->mode) < 0 ||
        ioctl(fd, SPI_IOC_RD_BITS_PER_WORD, &out->bits) < 0 ||
        ioctl(fd, SPI_IOC_RD_MAX_SPEED_HZ, &out->speed) < 0)
        return -errno;
    if (!out->bits)
        out->bits = 8; /* what 0 means to the kernel */
    return 0;
}

void settings_restore(int fd, const struct settings *settings)
{
    struct settings found = *settings;

    if (ioctl(fd, SPI_IOC_WR_MODE32, &found.mode) < 0 ||
        ioctl(fd, SPI_IOC_WR_BITS_PER_WORD, &found.bits) < 0 ||
        ioctl(fd, SPI_IOC_WR_MAX_SPEED_HZ, &found.speed) < 0) {
        /* The chip is gone, and its settings with it. */
    }
}

static int fail(struct hal_device *dev, const struct hal_attribute *attr, const char *verb, int err)
{
    char operation[HAL_NAME_MAX + 8];

    snprintf(operation, sizeof(operation), "%s %s", verb, attr->name);
    return spi_fail(dev, err, operation);
}

/* ---- mode bits ---- */

static const struct {
    uint32_t bit;
    const char *name;
} bit_names[] = {
    {SPI_CPHA, "CPHA"},           {SPI_CPOL, "CPOL"},         {SPI_CS_HIGH, "CS_HIGH"},
    {SPI_LSB_FIRST, "LSB_FIRST"}, {SPI_3WIRE, "3WIRE"},       {SPI_LOOP, "LOOP"},
    {SPI_NO_CS, "NO_CS"},         {SPI_READY, "READY"},       {SPI_TX_DUAL, "TX_DUAL"},
    {SPI_TX_QUAD, "TX_QUAD"},     {SPI_RX_DUAL, "RX_DUAL"},   {SPI_RX_QUAD, "RX_QUAD"},
    {SPI_TX_OCTAL, "TX_OCTAL"},   {SPI_RX_OCTAL, "RX_OCTAL"},
};

static int refuse_bits(struct hal_device *dev, const struct hal_attribute *attr, uint32_t bits)
{
    char operation[HAL_NAME_MAX + 8], names[128] = "";
    size_t used = 0;

    snprintf(operation, sizeof(operation), "set %s", attr->name);
    for (size_t i = 0; i < sizeof(bit_names) / sizeof(bit_names[0]); i++)
        if (bits & bit_names[i].bit && used < sizeof(names))
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                                     bit_names[i].name);
    return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev),
                          "the controller refuses it (mode bits that stay as they are: %s)", names);
}

/* Change the mode's bits within `mask`, all or none. */
static int change_mode(struct hal_device *dev, const struct hal_attribute *attr, uint32_t mask,
                       uint32_t bits)
{
    struct spi *spi = hal_device_state(dev);
    int fd = hal_device_fd(dev);
    uint32_t old, wanted, got;

    if (ioctl(fd, SPI_IOC_RD_MODE32, &old) < 0)
        return fail(dev, attr, "set", -errno);
    wanted = (old & ~mask) | bits;
    if (wanted == old)
        return 0;
    if (ioctl(fd, SPI_IOC_WR_MODE32, &wanted) < 0)
        return errno == EINVAL ? refuse_bits(dev, attr, old ^ wanted)
                               : fail(dev, attr, "set", -errno);
    if (ioctl(fd, SPI_IOC_RD_MODE32, &got) < 0)
        return fail(dev, attr, "set", -errno);
    if (((got ^ wanted) & mask) == 0) {
        spi->changed = true;
        return 0;
    }
    if (ioctl(fd, SPI_IOC_WR_MODE32, &old) < 0)
        return fail(dev, attr, "set", -errno);
    return refuse_bits(dev, attr, (got ^ wanted) & mask);
}

static int load_mode(struct hal_device *dev, const struct hal_attribute *attr, uint32_t *mode)
{
    return ioctl(hal_device_fd(dev), SPI_IOC_RD_MODE32, mode) < 0 ? fail(dev, attr, "get", -errno)
                                                                  : 0;
}

static int mode_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    uint32_t mode = 0;
    int err = load_mode(dev, attr, &mode);

    out->i = (int64_t)(mode & SPI_MODE_X_MASK); /* CPOL and CPHA are the mode's number */
    return err;
}

static int mode_set(struct hal_device *dev, const struct hal_attribute *attr,
                    const struct hal_value *value)
{
    return change_mode(dev, attr, SPI_MODE_X_MASK, (uint32_t)value->i);
}

static int bit_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    uint32_t mode = 0;
    int err = load_mode(dev, attr, &mode);

    out->b = mode & (uint32_t)attr->tag;
    return err;
}

static int bit_set(struct hal_device *dev, const struct hal_attribute *attr,
                   const struct hal_value *value)
{
    uint32_t bit = (uint32_t)attr->tag;

    return change_mode(dev, attr, bit, value->b ? bit : 0);
}

/* ---- data lines ---- */

#define TX_LANES (SPI_TX_DUAL | SPI_TX_QUAD | SPI_TX_OCTAL)
#define RX_LANES (SPI_RX_DUAL | SPI_RX_QUAD | SPI_RX_OCTAL)

static uint8_t lanes_of(uint32_t mode, uint32_t two, uint32_t four, uint32_t eight)
{
    return mode & eight ? 8 : mode & four ? 4 : mode & two ? 2 : 1;
}

uint8_t lanes_tx_of(uint32_t mode)
{
    return lanes_of(mode, SPI_TX_DUAL, SPI_TX_QUAD, SPI_TX_OCTAL);
}

uint8_t lanes_rx_of(uint32_t mode)
{
    return lanes_of(mode, SPI_RX_DUAL, SPI_RX_QUAD, SPI_RX_OCTAL);
}

static bool sends(const struct hal_attribute *attr)
{
    return attr->tag == (int64_t)TX_LANES;
}

static int lanes_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    uint32_t mode = 0;
    int err = load_mode(dev, attr, &mode);

    out->i = sends(attr) ? lanes_tx_of(mode) : lanes_rx_of(mode);
    return err;
}

static int lanes_set(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    static const uint32_t tx[] = {
        [1] = 0, [2] = SPI_TX_DUAL, [4] = SPI_TX_QUAD, [8] = SPI_TX_OCTAL};
    static const uint32_t rx[] = {
        [1] = 0, [2] = SPI_RX_DUAL, [4] = SPI_RX_QUAD, [8] = SPI_RX_OCTAL};
    struct spi *spi = hal_device_state(dev);
    uint32_t bits = sends(attr) ? tx[value->i] : rx[value->i];
    int err;

    if (value->i != 1 && !bits)
        return hal_fail_plain(-EINVAL, "set", attr->name, "there are 1, 2, 4 or 8 lanes, not %d",
                              (int)value->i);
    err = change_mode(dev, attr, (uint32_t)attr->tag, bits);
    if (err)
        return err;
    atomic_store_explicit(sends(attr) ? &spi->lanes_tx : &spi->lanes_rx, (uint8_t)value->i,
                          memory_order_relaxed);
    return 0;
}

/* ---- word size and speed ---- */

static int bits_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    struct settings settings = {0};
    int err = settings_load(hal_device_fd(dev), &settings);

    out->i = settings.bits;
    return err ? fail(dev, attr, "get", err) : 0;
}

static int bits_set(struct hal_device *dev, const struct hal_attribute *attr,
                    const struct hal_value *value)
{
    struct spi *spi = hal_device_state(dev);
    uint8_t bits = (uint8_t)value->i;

    if (ioctl(hal_device_fd(dev), SPI_IOC_WR_BITS_PER_WORD, &bits) < 0) {
        if (errno != EINVAL)
            return fail(dev, attr, "set", -errno);
        return hal_fail_plain(-EOPNOTSUPP, "set bits", hal_device_uri(dev),
                              "the controller has no words of %u bits", bits);
    }
    spi->changed = true;
    return 0;
}

static int speed_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    struct settings settings = {0};
    int err = settings_load(hal_device_fd(dev), &settings);

    out->i = settings.speed;
    return err ? fail(dev, attr, "get", err) : 0;
}

static int speed_set(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    struct spi *spi = hal_device_state(dev);
    uint32_t speed = (uint32_t)value->i, got = 0;

    if (ioctl(hal_device_fd(dev), SPI_IOC_WR_MAX_SPEED_HZ, &speed) < 0 ||
        ioctl(hal_device_fd(dev), SPI_IOC_RD_MAX_SPEED_HZ, &got) < 0)
        return fail(dev, attr, "set", -errno);
    spi->changed = true;
    if (got == speed)
        return 0;
    return hal_fail_plain(-EOPNOTSUPP, "set speed", hal_device_uri(dev),
                          "asked for %u Hz, the controller stays at %u", speed, got);
}

/* ---- of this device ---- */

#define US_PER_S 1e6

static int delay_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    struct spi *spi = hal_device_state(dev);

    (void)attr;
    out->f = atomic_load_explicit(&spi->delay_us, memory_order_relaxed) / US_PER_S;
    return 0;
}

static int delay_set(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    struct spi *spi = hal_device_state(dev);

    (void)attr;
    atomic_store_explicit(&spi->delay_us, (uint16_t)(value->f * US_PER_S + 0.5),
                          memory_order_relaxed);
    return 0;
}

static int word_delay_get(struct hal_device *dev, const struct hal_attribute *attr,
                          struct hal_value *out)
{
    struct spi *spi = hal_device_state(dev);

    (void)attr;
    out->f = atomic_load_explicit(&spi->word_delay_us, memory_order_relaxed) / US_PER_S;
    return 0;
}

static int word_delay_set(struct hal_device *dev, const struct hal_attribute *attr,
                          const struct hal_value *value)
{
    struct spi *spi = hal_device_state(dev);

    (void)attr;
    atomic_store_explicit(&spi->word_delay_us, (uint8_t)(value->f * US_PER_S + 0.5),
                          memory_order_relaxed);
    return 0;
}

static int restore_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct spi *spi = hal_device_state(dev);

    (void)attr;
    out->b = spi->restore;
    return 0;
}

static int restore_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    struct spi *spi = hal_device_state(dev);

    (void)attr;
    spi->restore = value->b;
    return 0;
}

static int limit_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    const struct spi *spi = hal_device_state(dev);

    (void)attr;
    out->i = spi->limit;
    return 0;
}

static int node_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct spi *spi = hal_device_state(dev);

    (void)attr;
    if ((size_t)snprintf(out->s, sizeof(out->s), "%s", spi->node) >= sizeof(out->s))
        return -ENAMETOOLONG;
    return 0;
}

/* ---- the table ---- */

#define READ HAL_ATTR_READ
#define SET (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)
#define ROW(name_, unit_, type_, access_, get_, set_, tag_, doc_)                                  \
    .name = name_, .unit = unit_, .doc = doc_, .type = HAL_TYPE_##type_, .access = access_,        \
    .get = get_, .set = set_, .tag = tag_

/* clang-format off */
const struct hal_attribute spi_attributes[] = {
    {ROW("restore", NULL, BOOL, SET, restore_get, restore_set, 0,
         "Closing puts back the settings that the chip select had before."),
     .initial = "true"},
    {ROW("mode", NULL, INT, SET, mode_get, mode_set, 0,
         "Clock polarity (2) and phase (1) as one number."),
     .max = 3},
    {ROW("speed", "Hz", INT, SET, speed_get, speed_set, 0,
         "Highest clock; the controller takes the next one below that it has."),
     .min = 1, .max = UINT32_MAX},
    {ROW("bits", "bit", INT, SET, bits_get, bits_set, 0,
         "Size of a word; those above 8 bits lie in memory as 2 or 4 bytes, in machine order."),
     .min = 1, .max = 32},
    {ROW("lsb_first", NULL, BOOL, SET, bit_get, bit_set, SPI_LSB_FIRST,
         "The least significant bit of a word goes first.")},
    {ROW("cs_high", NULL, BOOL, SET, bit_get, bit_set, SPI_CS_HIGH,
         "The chip select is active when high.")},
    {ROW("no_cs", NULL, BOOL, SET, bit_get, bit_set, SPI_NO_CS,
         "The chip select is left alone.")},
    {ROW("three_wire", NULL, BOOL, SET, bit_get, bit_set, SPI_3WIRE,
         "One line for both directions; a segment sends or receives.")},
    {ROW("ready", NULL, BOOL, SET, bit_get, bit_set, SPI_READY,
         "The chip may pause the controller by a ready line.")},
    {ROW("loop", NULL, BOOL, SET, bit_get, bit_set, SPI_LOOP,
         "The controller receives what it sends, for tests.")},
    {ROW("lanes_tx", NULL, INT, SET, lanes_get, lanes_set, TX_LANES,
         "Data lines to send: 1, 2, 4 or 8. For segments that only send."),
     .min = 1, .max = 8},
    {ROW("lanes_rx", NULL, INT, SET, lanes_get, lanes_set, RX_LANES,
         "Data lines to receive: 1, 2, 4 or 8. For segments that only receive."),
     .min = 1, .max = 8},
    {ROW("delay", "s", FLOAT, SET, delay_get, delay_set, 0,
         "Pause after each segment, in whole microseconds."),
     .max = 0.065535, .initial = "0"},
    {ROW("word_delay", "s", FLOAT, SET, word_delay_get, word_delay_set, 0,
         "Pause between words, in whole microseconds, if the controller can."),
     .max = 0.000255, .initial = "0"},
    {ROW("message_max", "B", INT, READ, limit_get, NULL, 0,
         "Most bytes each way under one chip select.")},
    {ROW("node", NULL, TEXT, READ, node_get, NULL, 0, "The device node, links resolved.")},
};
/* clang-format on */
