/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this driver share. Sources: the kernel's Documentation/i2c/{dev-interface,
 * fault-codes,functionality,smbus-protocol,ten-bit-addresses}.rst, include/uapi/linux/i2c*.h. */
#ifndef I2C_H
#define I2C_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>
#include <hal/i2c.h>

#define ADDRESS7_MAX 0x7f
#define ADDRESS10_MAX 0x3ff
#define NO_ADDRESS (-1)

struct i2c {
    char *node;                      /* "/dev/i2c-1", links resolved */
    unsigned bus;                    /* the adapter's number */
    int address;                     /* of the target; NO_ADDRESS: the bus alone */
    bool ten_bit;                    /* of the address, and of all that segments name */
    bool force;                      /* talk also to targets that kernel drivers use */
    bool reserved;                   /* ... and to reserved addresses */
    bool pec;                        /* SMBus requests carry a packet error code */
    uint64_t functions;              /* I2C_FUNC_... of the adapter */
    int retries;                     /* as set here; -1: not set */
    _Atomic unsigned timeout;        /* of one transaction, ticks; 0: not set here */
    _Atomic unsigned kernel_timeout; /* what the adapter has now, ticks */
    /* Foreign addresses that no kernel driver used when they were first named: one bit each, of
     * 7-bit addresses and of 10-bit ones. Control lane only. */
    uint64_t free_addresses[2][(ADDRESS10_MAX + 1) / 64];
};

/* ---- i2c.c ---- */

/* Word a failed exchange with `address` (negative errno as the kernel gave it). Returns the errno
 * that the fault has in <hal/i2c.h>. */
int i2c_fail(struct hal_device *dev, int err, const char *operation, int address);
/* Have the kernel give up at about `until`. 0, or -ETIMEDOUT when that is past. */
int i2c_bound(struct hal_device *dev, hal_deadline until);
/* -EINVAL for a handle of the bus alone, where a target is needed. */
int i2c_need_address(struct hal_device *dev, const char *operation);
/* A descriptor of our own, bound to a target: the device's stays bound to its target. -EBUSY,
 * worded, when a kernel driver uses it. The caller closes it. */
int i2c_open_target(struct hal_device *dev, int address, const char *operation);
/* Talk to `address` by `fd` from now on; as i2c_open_target(). */
int i2c_bind(struct hal_device *dev, int fd, int address, const char *operation);
bool i2c_reserved(int address, bool ten_bit);

/* ---- adapter.c ---- */

/* Take "ADAPTER[/ADDRESS]" apart. Sets node, bus and address. 0, or a worded failure. */
int adapter_resolve(struct hal_device *dev, struct i2c *i2c);
/* A descriptor of the adapter, or a worded failure. */
int adapter_open(const struct i2c *i2c);
bool adapter_gone(const struct i2c *i2c);
/* The adapter's name; false when sysfs does not tell. */
bool adapter_name(const struct i2c *i2c, char *out, size_t size);
/* Say which kernel driver uses `address`: returns -EBUSY. */
int adapter_busy(const struct i2c *i2c, int address, const char *operation, const char *object);

/* ---- smbus.c ---- */

/* One exchange, checked before. By `fd`, which is bound to `address`. Bytes read, or a worded
 * failure. */
long smbus_exchange(struct hal_device *dev, int fd, struct hal_i2c_smbus *exchange,
                    const char *operation, int address);
/* HAL_I2C_SMBUS. */
long smbus_request(struct hal_device *dev, struct hal_i2c_smbus *exchange, hal_deadline until);
/* A plain transfer by an adapter that has only SMBus, where a protocol says just the same on the
 * wire. The bytes moved, or a worded failure. */
ssize_t smbus_transfer(struct hal_device *dev, int fd, const struct hal_segment *segments,
                       size_t count, const char *operation, int address);

/* ---- scan.c ---- */

int i2c_scan(struct hal_device *dev, struct hal_i2c_scan *out, hal_deadline until);

/* ---- attributes.c ---- */

#define I2C_ATTRIBUTES 11
extern const struct hal_attribute i2c_attributes[I2C_ATTRIBUTES];

/* The word for a functionality bit, as in the attribute `functions`. */
const char *function_word(uint64_t bit);

#endif
