/* SPDX-License-Identifier: Apache-2.0 */
/* SMBus protocols: as requests, and as what an adapter without plain messages makes of transfers.
 * An adapter with plain messages does not need to know them: the kernel then puts them together. */
#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <string.h>
#include <sys/ioctl.h>

#include "i2c.h"

enum shape { NOTHING, ONE_BYTE, TWO_BYTES, BLOCK, UNKNOWN };

/* How a protocol is called, what it carries, and what the adapter must have for it. */
static const struct protocol {
    const char *read_name, *write_name;
    enum shape shape;
    uint64_t read_function, write_function;
} protocols[] = {
    [HAL_SMBUS_QUICK] = {"quick read", "quick write", NOTHING, I2C_FUNC_SMBUS_QUICK,
                         I2C_FUNC_SMBUS_QUICK},
    [HAL_SMBUS_BYTE] = {"receive byte", "send byte", ONE_BYTE, I2C_FUNC_SMBUS_READ_BYTE,
                        I2C_FUNC_SMBUS_WRITE_BYTE},
    [HAL_SMBUS_BYTE_DATA] = {"read byte", "write byte", ONE_BYTE, I2C_FUNC_SMBUS_READ_BYTE_DATA,
                             I2C_FUNC_SMBUS_WRITE_BYTE_DATA},
    [HAL_SMBUS_WORD_DATA] = {"read word", "write word", TWO_BYTES, I2C_FUNC_SMBUS_READ_WORD_DATA,
                             I2C_FUNC_SMBUS_WRITE_WORD_DATA},
    [HAL_SMBUS_PROCESS_CALL] = {"process call", "process call", TWO_BYTES, I2C_FUNC_SMBUS_PROC_CALL,
                                I2C_FUNC_SMBUS_PROC_CALL},
    [HAL_SMBUS_BLOCK_DATA] = {"read block", "write block", BLOCK, I2C_FUNC_SMBUS_READ_BLOCK_DATA,
                              I2C_FUNC_SMBUS_WRITE_BLOCK_DATA},
    [6] = {NULL, NULL, UNKNOWN, 0, 0}, /* an old form of I2C block data */
    [HAL_SMBUS_BLOCK_CALL] = {"block process call", "block process call", BLOCK,
                              I2C_FUNC_SMBUS_BLOCK_PROC_CALL, I2C_FUNC_SMBUS_BLOCK_PROC_CALL},
    [HAL_SMBUS_I2C_BLOCK_DATA] = {"read I2C block", "write I2C block", BLOCK,
                                  I2C_FUNC_SMBUS_READ_I2C_BLOCK, I2C_FUNC_SMBUS_WRITE_I2C_BLOCK},
};

static const struct protocol *find_protocol(const struct hal_i2c_smbus *exchange)
{
    const size_t count = sizeof(protocols) / sizeof(protocols[0]);

    if (exchange->protocol >= count || protocols[exchange->protocol].shape == UNKNOWN)
        return NULL;
    return &protocols[exchange->protocol];
}

static uint64_t function_of(const struct hal_i2c_smbus *exchange)
{
    const struct protocol *protocol = &protocols[exchange->protocol];

    return exchange->read ? protocol->read_function : protocol->write_function;
}

static bool is_call(const struct hal_i2c_smbus *exchange)
{
    return exchange->protocol == HAL_SMBUS_PROCESS_CALL ||
           exchange->protocol == HAL_SMBUS_BLOCK_CALL;
}

/* ---- one exchange ---- */

/* Send byte has no command of its own on the wire: its byte is what the kernel calls so. */
static uint8_t command_of(const struct hal_i2c_smbus *exchange)
{
    if (exchange->protocol == HAL_SMBUS_BYTE && !exchange->read)
        return exchange->data[0];
    return exchange->command;
}

static void pack(const struct hal_i2c_smbus *exchange, enum shape shape, union i2c_smbus_data *data)
{
    memset(data, 0, sizeof(*data));
    if (shape == ONE_BYTE)
        data->byte = exchange->data[0];
    if (shape == TWO_BYTES)
        data->word = (uint16_t)(exchange->data[0] | exchange->data[1] << 8);
    if (shape == BLOCK) {
        data->block[0] = exchange->length;
        memcpy(data->block + 1, exchange->data, exchange->length);
    }
}

/* Bytes that came. The kernel has checked the count of a block. */
static long unpack(struct hal_i2c_smbus *exchange, enum shape shape,
                   const union i2c_smbus_data *data)
{
    switch (shape) {
    case ONE_BYTE:
        exchange->data[0] = data->byte;
        return exchange->length = 1;
    case TWO_BYTES:
        exchange->data[0] = (uint8_t)data->word;
        exchange->data[1] = (uint8_t)(data->word >> 8);
        return exchange->length = 2;
    case BLOCK:
        exchange->length =
            data->block[0] < HAL_SMBUS_BLOCK_MAX ? data->block[0] : HAL_SMBUS_BLOCK_MAX;
        memcpy(exchange->data, data->block + 1, exchange->length);
        return exchange->length;
    default:
        return exchange->length = 0;
    }
}

long smbus_exchange(struct hal_device *dev, int fd, struct hal_i2c_smbus *exchange,
                    const char *operation, int address)
{
    enum shape shape = protocols[exchange->protocol].shape;
    union i2c_smbus_data data;
    struct i2c_smbus_ioctl_data arg = {
        .read_write = exchange->read ? I2C_SMBUS_READ : I2C_SMBUS_WRITE,
        .command = command_of(exchange),
        .size = exchange->protocol,
        .data = shape == NOTHING ? NULL : &data,
    };

    pack(exchange, shape, &data);
    if (ioctl(fd, I2C_SMBUS, &arg) < 0)
        return i2c_fail(dev, -errno, operation, address);
    return exchange->read || is_call(exchange) ? unpack(exchange, shape, &data) : 0;
}

/* ---- requests ---- */

static int check_length(struct hal_device *dev, const struct hal_i2c_smbus *exchange,
                        const char *name)
{
    bool asks = exchange->protocol == HAL_SMBUS_BLOCK_DATA && exchange->read; /* the target says */

    if (asks || (exchange->length >= 1 && exchange->length <= HAL_SMBUS_BLOCK_MAX))
        return 0;
    return hal_fail_plain(-EINVAL, name, hal_device_uri(dev), "%u bytes; a block has 1 .. %d",
                          exchange->length, HAL_SMBUS_BLOCK_MAX);
}

long smbus_request(struct hal_device *dev, struct hal_i2c_smbus *exchange, hal_deadline until)
{
    const struct i2c *i2c = hal_device_state(dev);
    const struct protocol *protocol = find_protocol(exchange);
    const char *name;
    int err;

    if (!protocol)
        return hal_fail_plain(-EINVAL, "smbus", hal_device_uri(dev),
                              "no SMBus protocol has number %u", exchange->protocol);
    name = exchange->read ? protocol->read_name : protocol->write_name;
    err = i2c_need_address(dev, name);
    if (!err && protocol->shape == BLOCK)
        err = check_length(dev, exchange, name);
    if (err)
        return err;
    if (!(i2c->functions & function_of(exchange)))
        return hal_fail_plain(-EOPNOTSUPP, name, hal_device_uri(dev),
                              "the adapter cannot do it: \"%s\" is not among its functions",
                              function_word(function_of(exchange)));
    err = i2c_bound(dev, until);
    return err ? err : smbus_exchange(dev, hal_device_fd(dev), exchange, name, i2c->address);
}

/* ---- plain transfers ---- */

static struct hal_i2c_smbus make(uint8_t protocol, bool read, uint8_t command, const uint8_t *data,
                                 size_t length)
{
    struct hal_i2c_smbus exchange = {protocol, read, command, (uint8_t)length, {0}};

    if (data)
        memcpy(exchange.data, data, length);
    return exchange;
}

/* Protocols that put just these bytes on the wire, the one that every adapter has first. How many
 * there are. Reads write no more than one byte before. */
static size_t as_write(const struct hal_segment *segment, struct hal_i2c_smbus out[2])
{
    const uint8_t *bytes = segment->tx;
    size_t n = 0;

    if (segment->len == 0)
        out[n++] = make(HAL_SMBUS_QUICK, false, 0, NULL, 0);
    if (segment->len == 1)
        out[n++] = make(HAL_SMBUS_BYTE, false, 0, bytes, 1);
    if (segment->len == 2)
        out[n++] = make(HAL_SMBUS_BYTE_DATA, false, bytes[0], bytes + 1, 1);
    if (segment->len == 3)
        out[n++] = make(HAL_SMBUS_WORD_DATA, false, bytes[0], bytes + 1, 2);
    if (segment->len >= 2 && segment->len <= 1 + HAL_SMBUS_BLOCK_MAX)
        out[n++] = make(HAL_SMBUS_I2C_BLOCK_DATA, false, bytes[0], bytes + 1, segment->len - 1);
    return n;
}

static size_t as_read(const struct hal_segment *segment, struct hal_i2c_smbus out[2])
{
    if (segment->len > 1)
        return 0;
    out[0] = make(segment->len ? HAL_SMBUS_BYTE : HAL_SMBUS_QUICK, true, 0, NULL, 0);
    return 1;
}

static size_t as_write_read(const struct hal_segment *to, const struct hal_segment *from,
                            struct hal_i2c_smbus out[2])
{
    const uint8_t *bytes = to->tx;
    size_t n = 0;

    if (to->len == 3 && from->len == 2)
        out[n++] = make(HAL_SMBUS_PROCESS_CALL, false, bytes[0], bytes + 1, 2);
    if (to->len != 1)
        return n;
    if (from->len == 1)
        out[n++] = make(HAL_SMBUS_BYTE_DATA, true, bytes[0], NULL, 0);
    if (from->len == 2)
        out[n++] = make(HAL_SMBUS_WORD_DATA, true, bytes[0], NULL, 0);
    if (from->len >= 1 && from->len <= HAL_SMBUS_BLOCK_MAX)
        out[n++] = make(HAL_SMBUS_I2C_BLOCK_DATA, true, bytes[0], NULL, from->len);
    return n;
}

static size_t express(const struct hal_segment *segments, size_t count, struct hal_i2c_smbus out[2])
{
    if (count == 1)
        return segments[0].tx ? as_write(&segments[0], out) : as_read(&segments[0], out);
    if (count == 2 && segments[0].tx && segments[1].rx)
        return as_write_read(&segments[0], &segments[1], out);
    return 0;
}

static int fail_unexpressed(struct hal_device *dev, const char *operation,
                            const struct hal_i2c_smbus *candidates, size_t count)
{
    const char *uri = hal_device_uri(dev);

    if (count)
        return hal_fail_plain(-EOPNOTSUPP, operation, uri,
                              "the adapter can do neither plain I2C messages nor \"%s\"",
                              function_word(function_of(&candidates[count - 1])));
    return hal_fail_plain(-EOPNOTSUPP, operation, uri,
                          "the adapter has SMBus only (no I2C_FUNC_I2C), which writes up to 33 "
                          "bytes, reads 1, or writes 1 and reads up to 32");
}

/* The first protocol that the adapter has. */
static struct hal_i2c_smbus *choose(const struct i2c *i2c, struct hal_i2c_smbus *candidates,
                                    size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i2c->functions & function_of(&candidates[i]))
            return &candidates[i];
    return NULL;
}

ssize_t smbus_transfer(struct hal_device *dev, int fd, const struct hal_segment *segments,
                       size_t count, const char *operation, int address)
{
    const struct i2c *i2c = hal_device_state(dev);
    const struct hal_segment *last = &segments[count - 1];
    struct hal_i2c_smbus candidates[2];
    size_t n = express(segments, count, candidates);
    struct hal_i2c_smbus *exchange = choose(i2c, candidates, n);
    long got;

    if (!exchange)
        return fail_unexpressed(dev, operation, candidates, n);
    if (i2c->pec)
        return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev),
                              "this adapter makes an SMBus exchange of it, and pec=on would add a "
                              "byte: use SMBus requests, or pec=off");
    got = smbus_exchange(dev, fd, exchange, operation, address);
    if (got < 0)
        return got;
    if (last->rx && (size_t)got != last->len)
        return hal_fail_plain(-EIO, operation, hal_device_uri(dev),
                              "the adapter read %ld of %zu bytes", got, last->len);
    if (last->rx)
        memcpy(last->rx, exchange->data, last->len);
    return (ssize_t)(segments[0].len + (count > 1 ? last->len : 0));
}
