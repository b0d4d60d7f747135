/* SPDX-License-Identifier: Apache-2.0 */
/* RS-485 (Documentation/driver-api/serial/serial-rs485.rst of the kernel): a bus on which RTS
 * switches the transmitter. While it is off the kernel keeps no settings, so they are kept here
 * and handed over in one piece when it is switched on. */
#include <errno.h>
#include <sys/ioctl.h>

#include "uart.h"

static const char lacking[] = "RS-485 mode";

/* The settings in force, or those that will be once it is enabled. */
static int load(struct hal_device *dev, struct serial_rs485 *out)
{
    const struct uart *uart = hal_device_state(dev);

    if (ioctl(hal_device_fd(dev), TIOCGRS485, out) < 0)
        return -errno;
    if (!(out->flags & SER_RS485_ENABLED)) {
        *out = uart->rs485;
        out->flags &= ~(uint32_t)SER_RS485_ENABLED;
    }
    return 0;
}

static void decode(const struct serial_rs485 *rs485, int64_t setting, struct hal_value *out)
{
    out->type = HAL_TYPE_BOOL;
    switch (setting) {
    case RS485_RTS_ON_SEND:
        out->b = rs485->flags & SER_RS485_RTS_ON_SEND;
        break;
    case RS485_RX_DURING_TX:
        out->b = rs485->flags & SER_RS485_RX_DURING_TX;
        break;
    case RS485_TERMINATE:
        out->b = rs485->flags & SER_RS485_TERMINATE_BUS;
        break;
    case RS485_ENABLED:
        out->b = rs485->flags & SER_RS485_ENABLED;
        break;
    default:
        out->type = HAL_TYPE_FLOAT;
        out->f = (setting == RS485_DELAY_BEFORE ? rs485->delay_rts_before_send
                                                : rs485->delay_rts_after_send) /
                 1000.0;
        break;
    }
}

static void put(struct serial_rs485 *rs485, uint32_t flag, bool on)
{
    rs485->flags = on ? rs485->flags | flag : rs485->flags & ~flag;
}

static void encode(struct serial_rs485 *rs485, int64_t setting, const struct hal_value *value)
{
    switch (setting) {
    case RS485_RTS_ON_SEND:
        put(rs485, SER_RS485_RTS_ON_SEND, value->b);
        put(rs485, SER_RS485_RTS_AFTER_SEND, !value->b);
        break;
    case RS485_RX_DURING_TX:
        put(rs485, SER_RS485_RX_DURING_TX, value->b);
        break;
    case RS485_TERMINATE:
        put(rs485, SER_RS485_TERMINATE_BUS, value->b);
        break;
    case RS485_ENABLED:
        put(rs485, SER_RS485_ENABLED, value->b);
        break;
    case RS485_DELAY_BEFORE:
        rs485->delay_rts_before_send = (uint32_t)(value->f * 1000 + 0.5);
        break;
    default:
        rs485->delay_rts_after_send = (uint32_t)(value->f * 1000 + 0.5);
        break;
    }
}

static bool same(const struct hal_value *a, const struct hal_value *b)
{
    return a->type == HAL_TYPE_BOOL ? a->b == b->b : a->f == b->f;
}

/* The kernel quietly takes out what the hardware cannot do. */
static int check_taken(struct hal_device *dev, const struct serial_rs485 *asked,
                       const struct serial_rs485 *got)
{
    for (size_t i = 0; i < UART_ATTRIBUTES; i++) {
        const struct hal_attribute *attr = &uart_attributes[i];
        struct hal_value a, b;

        if (attr->get != rs485_get)
            continue;
        decode(asked, attr->tag, &a);
        decode(got, attr->tag, &b);
        if (!same(&a, &b))
            return attribute_ignored(dev, attr, &a, &b);
    }
    return 0;
}

/* A tty without RS-485 says so even when it is to be switched off, which changes nothing. */
static int apply(struct hal_device *dev, const struct hal_attribute *attr,
                 const struct serial_rs485 *old, const struct serial_rs485 *asked)
{
    int fd = hal_device_fd(dev);
    struct serial_rs485 got = *asked, back = *old;
    int err = 0;

    if (ioctl(fd, TIOCSRS485, &got) < 0 || ioctl(fd, TIOCGRS485, &got) < 0)
        return attribute_fail(dev, attr, "set", -errno, lacking);
    if (asked->flags & SER_RS485_ENABLED)
        err = check_taken(dev, asked, &got);
    if (err)
        ioctl(fd, TIOCSRS485, &back);
    return err;
}

int rs485_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    struct serial_rs485 now;
    int err = load(dev, &now);

    if (err)
        return attribute_fail(dev, attr, "get", err, lacking);
    decode(&now, attr->tag, out);
    return 0;
}

int rs485_set(struct hal_device *dev, const struct hal_attribute *attr,
              const struct hal_value *value)
{
    struct uart *uart = hal_device_state(dev);
    struct serial_rs485 old, asked;
    int err = load(dev, &old);

    if (err)
        return attribute_fail(dev, attr, "set", err, lacking);
    asked = old;
    encode(&asked, attr->tag, value);
    err = apply(dev, attr, &old, &asked);
    if (!err)
        uart->rs485 = asked;
    return err;
}
