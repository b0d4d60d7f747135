/* SPDX-License-Identifier: Apache-2.0 */
/* Targets on I2C buses, by the kernel's i2c-dev. */
#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "i2c.h"

#define MESSAGE_MAX 8192     /* bytes; the kernel takes no longer message from a program */
#define NS_PER_TICK 10000000 /* of I2C_TIMEOUT */
#define KERNEL_TIMEOUT 100   /* ticks: what adapters have when their driver does not choose */

/* ---- errors ---- */

static int fail_unacknowledged(struct hal_device *dev, int err, const char *operation, int address)
{
    const char *uri = hal_device_uri(dev);

    if (address == NO_ADDRESS)
        return hal_fail_plain(-EREMOTEIO, operation, uri, "a message was not acknowledged");
    if (err == -ENXIO)
        return hal_fail_plain(-EREMOTEIO, operation, uri,
                              "nothing acknowledged address 0x%02x (absent, or busy by itself)",
                              (unsigned)address);
    return hal_fail_plain(-EREMOTEIO, operation, uri,
                          "not acknowledged: address 0x%02x, or a byte sent to it",
                          (unsigned)address);
}

int i2c_fail(struct hal_device *dev, int err, const char *operation, int address)
{
    const struct i2c *i2c = hal_device_state(dev);
    const char *uri = hal_device_uri(dev);

    if (err == -ENXIO || err == -EREMOTEIO)
        return fail_unacknowledged(dev, err, operation, address);
    if (err == -EINTR)
        return err;
    if (adapter_gone(i2c))
        return hal_fail(-ENODEV, operation, uri, "the adapter was removed");
    switch (-err) {
    case ENODEV: /* some adapters say so for an absent target */
        return hal_fail(-ENODEV, operation, uri,
                        "the target is absent, or the adapter is going away");
    case EAGAIN:
        return hal_fail(-EBUSY, operation, uri,
                        "arbitration lost to another controller; the attribute retries lets the "
                        "adapter try again");
    case EBUSY:
        return hal_fail(-EBUSY, operation, uri, "the bus does not become free");
    case ETIMEDOUT:
        return hal_fail(-ETIMEDOUT, operation, uri,
                        "the bus is stuck, or the target stretches the clock for too long");
    case EIO:
        return hal_fail(-EIO, operation, uri,
                        "bus error; of some adapters (i2c-gpio) also a byte not acknowledged");
    case EBADMSG:
        return hal_fail(-EBADMSG, operation, uri, "wrong packet error code");
    case EPROTO:
        return hal_fail(-EPROTO, operation, uri, "an answer against the SMBus protocol");
    case EOPNOTSUPP:
        return hal_fail(-EOPNOTSUPP, operation, uri,
                        "not with this adapter: it limits length, number or order of messages "
                        "(sudo dmesg says which limit)");
    case ESHUTDOWN:
        return hal_fail(-ESHUTDOWN, operation, uri, "the adapter is suspended");
    default:
        return hal_fail(err, operation, uri, NULL);
    }
}

int i2c_need_address(struct hal_device *dev, const char *operation)
{
    const struct i2c *i2c = hal_device_state(dev);

    if (i2c->address != NO_ADDRESS)
        return 0;
    return hal_fail_plain(-EINVAL, operation, hal_device_uri(dev),
                          "this is the bus alone; open a target of it, as in i2c:%u/0x50",
                          i2c->bus);
}

/* ---- time ---- */

/* How long a transaction may take, ticks: as set for the adapter, less when the deadline is nearer.
 * 0: it is past. */
static unsigned time_left(struct i2c *i2c, hal_deadline until)
{
    unsigned set = atomic_load_explicit(&i2c->timeout, memory_order_relaxed);
    unsigned most = set ? set : KERNEL_TIMEOUT;
    int64_t left;

    if (until == HAL_FOREVER || until <= HAL_NOWAIT)
        return most;
    left = until - hal_now();
    if (left <= 0)
        return 0;
    return left < (int64_t)most * NS_PER_TICK ? (unsigned)((left - 1) / NS_PER_TICK) + 1 : most;
}

/* The kernel's timeout is of the whole adapter, so it is changed as rarely as can be. */
int i2c_bound(struct hal_device *dev, hal_deadline until)
{
    struct i2c *i2c = hal_device_state(dev);
    unsigned ticks = time_left(i2c, until);

    if (ticks == atomic_load_explicit(&i2c->kernel_timeout, memory_order_relaxed))
        return 0;
    if (!ticks)
        return -ETIMEDOUT;
    if (ioctl(hal_device_fd(dev), I2C_TIMEOUT, (unsigned long)ticks) < 0)
        return i2c_fail(dev, -errno, "set timeout", NO_ADDRESS);
    atomic_store_explicit(&i2c->kernel_timeout, ticks, memory_order_relaxed);
    return 0;
}

/* ---- targets ---- */

bool i2c_reserved(int address, bool ten_bit)
{
    return !ten_bit && (address < 0x08 || address > 0x77);
}

int i2c_bind(struct hal_device *dev, int fd, int address, const char *operation)
{
    const struct i2c *i2c = hal_device_state(dev);
    unsigned long request = i2c->force ? I2C_SLAVE_FORCE : I2C_SLAVE;

    if (ioctl(fd, I2C_TENBIT, i2c->ten_bit || address > ADDRESS7_MAX ? 1ul : 0ul) == 0 &&
        ioctl(fd, request, (unsigned long)address) == 0)
        return 0;
    if (errno == EBUSY)
        return adapter_busy(i2c, address, operation, hal_device_uri(dev));
    return i2c_fail(dev, -errno, operation, address);
}

int i2c_open_target(struct hal_device *dev, int address, const char *operation)
{
    int fd = adapter_open(hal_device_state(dev));
    int err = fd < 0 ? fd : i2c_bind(dev, fd, address, operation);

    if (fd >= 0 && err)
        close(fd);
    return err ? err : fd;
}

/* The kernel does not ask who uses an address that a combined transfer names. */
static int check_foreign(struct hal_device *dev, uint32_t address, bool ten_bit, size_t index)
{
    struct i2c *i2c = hal_device_state(dev);
    uint64_t *known, bit = UINT64_C(1) << address % 64;
    const char *uri = hal_device_uri(dev);
    int fd;

    if (address > ADDRESS10_MAX)
        return hal_fail_plain(-ERANGE, "transfer", uri,
                              "segment %zu: 0x%x is above 0x%x, the highest address", index,
                              address, ADDRESS10_MAX);
    known = &i2c->free_addresses[ten_bit][address / 64];
    if (*known & bit)
        return 0;
    if (ten_bit && !(i2c->functions & I2C_FUNC_10BIT_ADDR))
        return hal_fail_plain(-EOPNOTSUPP, "transfer", uri,
                              "segment %zu: the adapter has no 10-bit addresses", index);
    if (i2c_reserved((int)address, ten_bit) && !i2c->reserved)
        return hal_fail_plain(-EINVAL, "transfer", uri,
                              "segment %zu: the address 0x%02x is reserved; open with reserved=on "
                              "to use it",
                              index, address);
    fd = i2c_open_target(dev, (int)address, "transfer");
    if (fd < 0)
        return fd;
    close(fd);
    *known |= bit;
    return 0;
}

/* ---- messages ---- */

static int refuse(struct hal_device *dev, int err, size_t index, const char *why)
{
    return hal_fail_plain(err, "transfer", hal_device_uri(dev), "segment %zu: %s", index, why);
}

/* What a segment may ask for beyond bytes and an address. */
static int check_unusual(struct hal_device *dev, const struct hal_segment *segment, size_t index)
{
    const struct i2c *i2c = hal_device_state(dev);

    if (segment->speed_hz || segment->word_delay_us || segment->bits || segment->lanes_tx ||
        segment->lanes_rx || segment->flags & HAL_SEGMENT_CS_CHANGE)
        return refuse(dev, -EINVAL, index,
                      "speed, bits, lanes, word delay and chip select are of SPI");
    if (segment->delay_us)
        return refuse(dev, -EOPNOTSUPP, index, "I2C has no pause inside a transfer");
    if (segment->flags & ~(uint32_t)(HAL_SEGMENT_NO_START | HAL_SEGMENT_IGNORE_NAK))
        return refuse(dev, -EINVAL, index, "unknown flags");
    if (segment->flags & HAL_SEGMENT_NO_START && index == 0)
        return refuse(dev, -EINVAL, index, "a transfer begins with a start");
    if (segment->flags & HAL_SEGMENT_NO_START && !(i2c->functions & I2C_FUNC_NOSTART))
        return refuse(dev, -EOPNOTSUPP, index, "the adapter cannot leave out a repeated start");
    if (segment->flags & HAL_SEGMENT_IGNORE_NAK && !(i2c->functions & I2C_FUNC_PROTOCOL_MANGLING))
        return refuse(dev, -EOPNOTSUPP, index, "the adapter cannot ignore a missing acknowledge");
    return 0;
}

static int find_target(struct hal_device *dev, const struct hal_segment *segment, size_t index,
                       struct i2c_msg *message)
{
    const struct i2c *i2c = hal_device_state(dev);
    uint32_t address = segment->address;
    bool ten_bit = i2c->ten_bit || address > ADDRESS7_MAX;
    int err;

    if (!address && i2c->address == NO_ADDRESS)
        return refuse(dev, -EINVAL, index, "no address, and the URI names none either");
    if (!address || (int64_t)address == i2c->address) {
        address = (uint32_t)i2c->address;
    } else {
        err = check_foreign(dev, address, ten_bit, index);
        if (err)
            return err;
    }
    message->addr = (uint16_t)address;
    message->flags = ten_bit ? I2C_M_TEN : 0;
    return 0;
}

static int make_message(struct hal_device *dev, const struct hal_segment *segment, size_t index,
                        struct i2c_msg *message)
{
    const bool unusual = segment->flags || segment->speed_hz || segment->delay_us ||
                         segment->word_delay_us || segment->bits || segment->lanes_tx ||
                         segment->lanes_rx;
    int err = unusual ? check_unusual(dev, segment, index) : 0;

    *message = (struct i2c_msg){.len = (uint16_t)segment->len};
    if (!err)
        err = find_target(dev, segment, index, message);
    if (err)
        return err;
    if (!segment->tx == !segment->rx)
        return refuse(dev, -EINVAL, index, "I2C sends or receives: exactly one of tx and rx");
    if (segment->len > MESSAGE_MAX)
        return hal_fail_plain(-EMSGSIZE, "transfer", hal_device_uri(dev),
                              "segment %zu: %zu bytes; a message has %d at most", index,
                              segment->len, MESSAGE_MAX);
    if (segment->rx)
        message->flags |= I2C_M_RD;
    if (segment->flags & HAL_SEGMENT_NO_START)
        message->flags |= I2C_M_NOSTART;
    if (segment->flags & HAL_SEGMENT_IGNORE_NAK)
        message->flags |= I2C_M_IGNORE_NAK;
    message->buf = segment->rx ? segment->rx : (uint8_t *)(uintptr_t)segment->tx;
    return 0;
}

/* The one address of all messages, for words; NO_ADDRESS when there are several. */
static int common_address(const struct i2c_msg *messages, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (messages[i].addr != messages[0].addr)
            return NO_ADDRESS;
    return messages[0].addr;
}

/* ---- bytes ---- */

static bool plain(const struct i2c *i2c)
{
    return i2c->functions & I2C_FUNC_I2C;
}

/* An adapter of SMBus alone: as one exchange with one target. */
static ssize_t transfer_smbus(struct hal_device *dev, const struct hal_segment *segments,
                              size_t count, const struct i2c_msg *messages)
{
    const struct i2c *i2c = hal_device_state(dev);
    int address = common_address(messages, count), fd;
    ssize_t n;

    if (address == i2c->address)
        return smbus_transfer(dev, hal_device_fd(dev), segments, count, "transfer", address);
    if (address == NO_ADDRESS)
        return hal_fail_plain(
            -EOPNOTSUPP, "transfer", hal_device_uri(dev),
            "the adapter has SMBus only (no I2C_FUNC_I2C): one target a transfer");
    fd = i2c_open_target(dev, address, "transfer");
    if (fd < 0)
        return fd;
    n = smbus_transfer(dev, fd, segments, count, "transfer", address);
    close(fd);
    return n;
}

static ssize_t transfer_messages(struct hal_device *dev, struct i2c_msg *messages, size_t count)
{
    struct i2c_rdwr_ioctl_data all = {messages, (uint32_t)count};
    int done = ioctl(hal_device_fd(dev), I2C_RDWR, &all);
    ssize_t moved = 0;

    if (done < 0)
        return i2c_fail(dev, -errno, "transfer", common_address(messages, count));
    if ((size_t)done < count)
        return hal_fail(-EIO, "transfer", hal_device_uri(dev), "ended after %d of %zu messages",
                        done, count);
    for (size_t i = 0; i < count; i++)
        moved += messages[i].len;
    return moved;
}

static ssize_t i2c_transfer(struct hal_device *dev, const struct hal_segment *segments,
                            size_t count, hal_deadline until)
{
    struct i2c_msg messages[I2C_RDWR_IOCTL_MAX_MSGS];
    int err;

    if (count < 1 || count > I2C_RDWR_IOCTL_MAX_MSGS)
        return hal_fail_plain(-EMSGSIZE, "transfer", hal_device_uri(dev),
                              "%zu segments; the kernel takes 1 .. %d in one transfer", count,
                              I2C_RDWR_IOCTL_MAX_MSGS);
    for (size_t i = 0; i < count; i++) {
        err = make_message(dev, &segments[i], i, &messages[i]);
        if (err)
            return err;
    }
    err = i2c_bound(dev, until);
    if (err)
        return err;
    return plain(hal_device_state(dev)) ? transfer_messages(dev, messages, count)
                                        : transfer_smbus(dev, segments, count, messages);
}

/* Before a message of its own: the device has a target, and the message is not too long. */
static int check_message(struct hal_device *dev, size_t len, hal_deadline until,
                         const char *operation)
{
    int err = i2c_need_address(dev, operation);

    if (err)
        return err;
    if (len > MESSAGE_MAX)
        return hal_fail_plain(-EMSGSIZE, operation, hal_device_uri(dev),
                              "%zu bytes; a message has %d at most", len, MESSAGE_MAX);
    return i2c_bound(dev, until);
}

static ssize_t i2c_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    const struct i2c *i2c = hal_device_state(dev);
    struct hal_segment segment = {.rx = buf, .len = len};
    ssize_t n = check_message(dev, len, until, "read");

    if (n)
        return n;
    if (!plain(i2c))
        return smbus_transfer(dev, hal_device_fd(dev), &segment, 1, "read", i2c->address);
    n = read(hal_device_fd(dev), buf, len);
    return n < 0 ? i2c_fail(dev, -errno, "read", i2c->address) : n;
}

static ssize_t i2c_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    const struct i2c *i2c = hal_device_state(dev);
    struct hal_segment segment = {.tx = buf, .len = len};
    ssize_t n = check_message(dev, len, until, "write");

    if (n)
        return n;
    if (!plain(i2c))
        return smbus_transfer(dev, hal_device_fd(dev), &segment, 1, "write", i2c->address);
    n = write(hal_device_fd(dev), buf, len);
    return n < 0 ? i2c_fail(dev, -errno, "write", i2c->address) : n;
}

/* ---- requests ---- */

static long wrong_size(struct hal_device *dev, const char *operation, size_t size, size_t expected)
{
    return hal_fail_plain(-EINVAL, operation, hal_device_uri(dev),
                          "the argument has %zu bytes where %zu belong", size, expected);
}

static long i2c_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                        hal_deadline until)
{
    switch (request) {
    case HAL_I2C_SMBUS:
        return size == sizeof(struct hal_i2c_smbus)
                   ? smbus_request(dev, arg, until)
                   : wrong_size(dev, "smbus", size, sizeof(struct hal_i2c_smbus));
    case HAL_I2C_SCAN:
        return size == sizeof(struct hal_i2c_scan)
                   ? i2c_scan(dev, arg, until)
                   : wrong_size(dev, "scan", size, sizeof(struct hal_i2c_scan));
    default:
        return -ENOTTY;
    }
}

/* ---- opening ---- */

static bool option_true(const struct hal_device *dev, const char *name)
{
    struct hal_value value;

    return hal_device_option(dev, name, &value) >= 0 && value.b;
}

static int learn_functions(struct hal_device *dev, struct i2c *i2c)
{
    unsigned long functions = 0;

    if (ioctl(hal_device_fd(dev), I2C_FUNCS, &functions) < 0)
        return hal_fail(-errno, "open", i2c->node, "it does not tell what the adapter can do");
    i2c->functions = functions;
    if (i2c->ten_bit && !(functions & I2C_FUNC_10BIT_ADDR))
        return hal_fail_plain(-EOPNOTSUPP, "open", hal_device_uri(dev),
                              "the adapter has no 10-bit addresses");
    return 0;
}

static int open_target(struct hal_device *dev, struct i2c *i2c)
{
    int err = adapter_resolve(dev, i2c);
    int fd = err ? err : adapter_open(i2c);

    if (fd < 0)
        return fd;
    hal_device_set_fd(dev, fd);
    err = learn_functions(dev, i2c);
    if (!err && i2c->address != NO_ADDRESS)
        err = i2c_bind(dev, fd, i2c->address, "open");
    return err;
}

static void i2c_free(struct i2c *i2c)
{
    free(i2c->node);
    free(i2c);
}

static int i2c_init(struct hal_device *dev)
{
    struct i2c *i2c = calloc(1, sizeof(*i2c));
    int err;

    if (!i2c)
        return -ENOMEM;
    i2c->force = option_true(dev, "force");
    i2c->reserved = option_true(dev, "reserved");
    i2c->retries = -1;
    i2c->kernel_timeout = KERNEL_TIMEOUT;
    hal_device_set_state(dev, i2c);
    err = open_target(dev, i2c);
    if (err) {
        hal_device_set_state(dev, NULL);
        i2c_free(i2c);
    }
    return err;
}

static void i2c_fini(struct hal_device *dev)
{
    i2c_bound(dev, HAL_FOREVER); /* the adapter outlives our last deadline */
    i2c_free(hal_device_state(dev));
}

static const struct hal_match matches[] = {
    {"subsystem:i2c/i2c-[0-9]*", "{bus}", "an adapter"},
    {"subsystem:i2c", "{bus}/{address}", "a target on one"},
};

static const struct driver_ops i2c_ops = {
    .init = i2c_init,
    .read = i2c_read,
    .write = i2c_write,
    .fini = i2c_fini,
    .transfer = i2c_transfer,
    .control = i2c_control,
    .summary = "I2C and SMBus targets",
    .address = "BUS/0xADDR",
    .attributes = i2c_attributes,
    .attribute_count = I2C_ATTRIBUTES,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("i2c", &i2c_ops, "0.1.0");
