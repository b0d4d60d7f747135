/* SPDX-License-Identifier: Apache-2.0 */
/* Who answers on a bus, asked as i2cdetect(8) asks: an address in use by a kernel driver is left
 * alone; where EEPROMs live (0x30 .. 0x37, 0x50 .. 0x5f), and a quick write can change them for
 * ever, a byte is read; elsewhere, where reading can hang a write-only chip, a quick write. */
#include <errno.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "i2c.h"

#define STUCK 3 /* timeouts on end that say that the bus hangs, not that a target is absent */

static void mark(uint8_t *set, int address)
{
    set[address / 8] |= (uint8_t)(1 << address % 8);
}

static struct hal_i2c_smbus probe_for(int address)
{
    bool memory = (address >= 0x30 && address <= 0x37) || (address >= 0x50 && address <= 0x5f);

    return (struct hal_i2c_smbus){.protocol = memory ? HAL_SMBUS_BYTE : HAL_SMBUS_QUICK,
                                  .read = memory};
}

static bool can_probe(const struct i2c *i2c, const struct hal_i2c_smbus *probe)
{
    return i2c->functions &
           (probe->protocol == HAL_SMBUS_QUICK ? I2C_FUNC_SMBUS_QUICK : I2C_FUNC_SMBUS_READ_BYTE);
}

/* Between two addresses: is there time left, and did nobody cancel? */
static int go_on(struct hal_device *dev, hal_deadline until)
{
    const hal_deadline long_ago = 1;
    int err = hal_device_wait(dev, HAL_LANE_CONTROL, -1, 0, long_ago);

    if (err < 0 && err != -ETIMEDOUT)
        return err;
    return i2c_bound(dev, until);
}

/* Adapters tell an absent target in many ways; only what says that none can be reached ends a scan.
 */
static int judge(struct hal_device *dev, long result, int address, int *timeouts,
                 struct hal_i2c_scan *out)
{
    bool gone = result == -ENODEV && adapter_gone(hal_device_state(dev));

    *timeouts = result == -ETIMEDOUT ? *timeouts + 1 : 0;
    if (result >= 0)
        mark(out->present, address);
    if (gone || result == -EBUSY || result == -ESHUTDOWN || result == -EINTR || *timeouts == STUCK)
        return (int)result;
    return 0;
}

static int probe_address(struct hal_device *dev, int fd, int address, int *timeouts,
                         struct hal_i2c_scan *out)
{
    struct hal_i2c_smbus probe = probe_for(address);

    /* Never I2C_SLAVE_FORCE, whatever the device was opened with. */
    if (ioctl(fd, I2C_SLAVE, (unsigned long)address) < 0) {
        if (errno != EBUSY)
            return i2c_fail(dev, -errno, "scan", address);
        mark(out->in_use, address);
        return 0;
    }
    if (!can_probe(hal_device_state(dev), &probe)) {
        mark(out->skipped, address);
        return 0;
    }
    return judge(dev, smbus_exchange(dev, fd, &probe, "scan", address), address, timeouts, out);
}

int i2c_scan(struct hal_device *dev, struct hal_i2c_scan *out, hal_deadline until)
{
    int fd, timeouts = 0, err = 0;

    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    fd = adapter_open(hal_device_state(dev)); /* the device's own stays bound to its target */
    if (fd < 0)
        return fd;
    memset(out, 0, sizeof(*out));
    for (int address = 0; address <= ADDRESS7_MAX && !err; address++) {
        if (i2c_reserved(address, false)) {
            mark(out->skipped, address);
            continue;
        }
        err = go_on(dev, until);
        if (!err)
            err = probe_address(dev, fd, address, &timeouts, out);
    }
    close(fd);
    return err;
}
