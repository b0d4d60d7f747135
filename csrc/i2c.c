/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of I2C targets, by transfers of any driver that has them. */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define NUMBER_MAX 4
#define WRITE_MAX 256

/* The register's number as it goes over the wire. */
static int number_bytes(uint32_t reg, size_t size, uint8_t out[NUMBER_MAX], const char *operation)
{
    if (size < 1 || size > NUMBER_MAX)
        return hal_fail_plain(-EINVAL, operation, NULL, "register numbers of %zu bytes; 1 .. %d go",
                              size, NUMBER_MAX);
    if (size < NUMBER_MAX && reg >> 8 * size)
        return hal_fail_plain(-ERANGE, operation, NULL,
                              "register 0x%x does not fit into %zu byte%s", reg, size,
                              size == 1 ? "" : "s");
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(reg >> 8 * (size - 1 - i));
    return 0;
}

ssize_t hal_i2c_read_register(hal_handle dev, uint32_t reg, size_t reg_size, void *buf, size_t len,
                              hal_deadline until)
{
    uint8_t number[NUMBER_MAX];
    struct hal_segment segments[2] = {{.tx = number, .len = reg_size}, {.rx = buf, .len = len}};
    uint32_t mark = error_begin();
    int err = number_bytes(reg, reg_size, number, "read register");
    ssize_t n;

    if (!err && !buf)
        err = -EFAULT;
    if (!err && !len)
        err = hal_fail_plain(-EINVAL, "read register", NULL, "0 bytes asked for");
    if (err)
        return error_end(mark, err, "read register", NULL);
    n = hal_transfer(dev, segments, 2, until);
    return n < 0 ? n : (ssize_t)len;
}

ssize_t hal_i2c_write_register(hal_handle dev, uint32_t reg, size_t reg_size, const void *buf,
                               size_t len, hal_deadline until)
{
    uint8_t message[NUMBER_MAX + WRITE_MAX];
    struct hal_segment segment = {.tx = message, .len = reg_size + len};
    uint32_t mark = error_begin();
    int err = number_bytes(reg, reg_size, message, "write register");
    ssize_t n;

    if (!err && len && !buf)
        err = -EFAULT;
    if (!err && len > WRITE_MAX)
        err = hal_fail_plain(-EMSGSIZE, "write register", NULL, "%zu bytes; %d go at once", len,
                             WRITE_MAX);
    if (err)
        return error_end(mark, err, "write register", NULL);
    if (len)
        memcpy(message + reg_size, buf, len);
    n = hal_transfer(dev, &segment, 1, until);
    return n < 0 ? n : (ssize_t)len;
}
