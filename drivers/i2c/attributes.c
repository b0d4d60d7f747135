/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "i2c.h"

#define TICKS_PER_S 100 /* of I2C_TIMEOUT */
#define TIMEOUT_MAX 600 /* s */
#define RETRIES_MAX 100

/* ---- what the adapter can do ---- */

static const struct function {
    uint64_t bit;
    const char *word;
} functions[] = {
    {I2C_FUNC_I2C, "i2c"},
    {I2C_FUNC_10BIT_ADDR, "ten_bit"},
    {I2C_FUNC_PROTOCOL_MANGLING, "mangling"},
    {I2C_FUNC_NOSTART, "no_start"},
    {I2C_FUNC_SMBUS_PEC, "pec"},
    {I2C_FUNC_SMBUS_QUICK, "quick"},
    {I2C_FUNC_SMBUS_READ_BYTE, "receive_byte"},
    {I2C_FUNC_SMBUS_WRITE_BYTE, "send_byte"},
    {I2C_FUNC_SMBUS_READ_BYTE_DATA, "read_byte"},
    {I2C_FUNC_SMBUS_WRITE_BYTE_DATA, "write_byte"},
    {I2C_FUNC_SMBUS_READ_WORD_DATA, "read_word"},
    {I2C_FUNC_SMBUS_WRITE_WORD_DATA, "write_word"},
    {I2C_FUNC_SMBUS_PROC_CALL, "process_call"},
    {I2C_FUNC_SMBUS_READ_BLOCK_DATA, "read_block"},
    {I2C_FUNC_SMBUS_WRITE_BLOCK_DATA, "write_block"},
    {I2C_FUNC_SMBUS_BLOCK_PROC_CALL, "block_call"},
    {I2C_FUNC_SMBUS_READ_I2C_BLOCK, "read_i2c_block"},
    {I2C_FUNC_SMBUS_WRITE_I2C_BLOCK, "write_i2c_block"},
};

#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

const char *function_word(uint64_t bit)
{
    for (size_t i = 0; i < FUNCTIONS; i++)
        if (functions[i].bit == bit)
            return functions[i].word;
    return "?";
}

static int functions_get(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);
    size_t used = 0;

    (void)attr;
    out->s[0] = '\0';
    for (size_t i = 0; i < FUNCTIONS; i++)
        if (i2c->functions & functions[i].bit)
            used += (size_t)snprintf(out->s + used, sizeof(out->s) - used, "%s%s", used ? " " : "",
                                     functions[i].word);
    return 0;
}

/* ---- the adapter's ways: the kernel takes them, but does not tell them ---- */

static int not_told(struct hal_device *dev, const char *operation)
{
    return hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                    "the kernel does not tell; it is what the adapter's driver chose, until set");
}

static int retries_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    out->i = i2c->retries;
    return i2c->retries < 0 ? not_told(dev, "get retries") : 0;
}

static int retries_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    if (ioctl(hal_device_fd(dev), I2C_RETRIES, (unsigned long)value->i) < 0)
        return i2c_fail(dev, -errno, "set retries", NO_ADDRESS);
    i2c->retries = (int)value->i;
    return 0;
}

static int timeout_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    out->f = (double)i2c->timeout / TICKS_PER_S;
    return i2c->timeout ? 0 : not_told(dev, "get bus_timeout");
}

static int timeout_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    struct i2c *i2c = hal_device_state(dev);
    unsigned ticks = (unsigned)(value->f * TICKS_PER_S + 0.999999); /* rounded up */

    (void)attr;
    if (ioctl(hal_device_fd(dev), I2C_TIMEOUT, (unsigned long)ticks) < 0)
        return i2c_fail(dev, -errno, "set bus_timeout", NO_ADDRESS);
    i2c->timeout = ticks;
    atomic_store_explicit(&i2c->kernel_timeout, ticks, memory_order_relaxed);
    return 0;
}

/* ---- of this device ---- */

static int pec_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    out->b = i2c->pec;
    return 0;
}

/* The kernel would take it, and then leave the code out. */
static int pec_set(struct hal_device *dev, const struct hal_attribute *attr,
                   const struct hal_value *value)
{
    struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    if (value->b && !(i2c->functions & I2C_FUNC_SMBUS_PEC))
        return hal_fail_plain(-EOPNOTSUPP, "set pec", hal_device_uri(dev),
                              "the adapter makes no packet error codes");
    if (ioctl(hal_device_fd(dev), I2C_PEC, value->b ? 1ul : 0ul) < 0)
        return i2c_fail(dev, -errno, "set pec", NO_ADDRESS);
    i2c->pec = value->b;
    return 0;
}

enum fact { FACT_ADDRESS, FACT_BUS, FACT_TEN_BIT, FACT_FORCE, FACT_RESERVED };

static int fact_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);

    switch ((enum fact)attr->tag) {
    case FACT_ADDRESS:
        out->i = i2c->address;
        break;
    case FACT_BUS:
        out->i = i2c->bus;
        break;
    case FACT_TEN_BIT:
        out->b = i2c->ten_bit;
        break;
    case FACT_FORCE:
        out->b = i2c->force;
        break;
    case FACT_RESERVED:
        out->b = i2c->reserved;
        break;
    }
    return 0;
}

static int adapter_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    (void)attr;
    if (adapter_name(hal_device_state(dev), out->s, sizeof(out->s)))
        return 0;
    return hal_fail_plain(-ENODEV, "get adapter", hal_device_uri(dev),
                          "sysfs does not show the adapter any more");
}

static int node_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct i2c *i2c = hal_device_state(dev);

    (void)attr;
    if ((size_t)snprintf(out->s, sizeof(out->s), "%s", i2c->node) >= sizeof(out->s))
        return -ENAMETOOLONG;
    return 0;
}

/* ---- the table ---- */

#define READ HAL_ATTR_READ
#define OPEN (HAL_ATTR_READ | HAL_ATTR_OPEN)
#define SET (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)
#define ROW(name_, unit_, type_, access_, get_, set_, tag_, doc_)                                  \
    .name = name_, .unit = unit_, .doc = doc_, .type = HAL_TYPE_##type_, .access = access_,        \
    .get = get_, .set = set_, .tag = tag_

/* clang-format off */
const struct hal_attribute i2c_attributes[] = {
    {ROW("address", NULL, INT, READ, fact_get, NULL, FACT_ADDRESS,
         "The target's address; -1: the bus alone is open.")},
    {ROW("ten_bit", NULL, BOOL, OPEN, fact_get, NULL, FACT_TEN_BIT,
         "Addresses have 10 bits; without it those above 0x7f have.")},
    {ROW("reserved", NULL, BOOL, OPEN, fact_get, NULL, FACT_RESERVED,
         "Reserved addresses (0x00 .. 0x07, 0x78 .. 0x7f) may be used."),
     .initial = "false"},
    {ROW("force", NULL, BOOL, OPEN, fact_get, NULL, FACT_FORCE,
         "Targets that a kernel driver uses may be used beside it, at your risk."),
     .initial = "false"},
    {ROW("pec", NULL, BOOL, SET, pec_get, pec_set, 0,
         "SMBus requests carry and check a packet error code."),
     .initial = "false"},
    {ROW("retries", NULL, INT, SET, retries_get, retries_set, 0,
         "How often the adapter tries again after lost arbitration. Of the whole adapter."),
     .max = RETRIES_MAX},
    {ROW("bus_timeout", "s", FLOAT, SET, timeout_get, timeout_set, 0,
         "Longest time of one transaction, in steps of 10 ms. Of the whole adapter."),
     .min = 0.01, .max = TIMEOUT_MAX},
    {ROW("bus", NULL, INT, READ, fact_get, NULL, FACT_BUS, "The adapter's number.")},
    {ROW("adapter", NULL, TEXT, READ, adapter_get, NULL, 0, "The adapter's name.")},
    {ROW("functions", NULL, TEXT, READ, functions_get, NULL, 0,
         "What the adapter can do, as words.")},
    {ROW("node", NULL, TEXT, READ, node_get, NULL, 0, "The device node, links resolved.")},
};
/* clang-format on */
