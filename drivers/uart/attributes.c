/* SPDX-License-Identifier: Apache-2.0 */
/* The attributes of a line, and those among them that ioctl_tty(2) serves one by one. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "uart.h"

int attribute_fail(struct hal_device *dev, const struct hal_attribute *attr, const char *verb,
                   int err, const char *lacking)
{
    char operation[HAL_NAME_MAX + 8];

    snprintf(operation, sizeof(operation), "%s %s", verb, attr->name);
    return uart_fail(dev, err, operation, lacking);
}

int attribute_ignored(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *asked, const struct hal_value *got)
{
    const struct uart *uart = hal_device_state(dev);
    char operation[HAL_NAME_MAX + 8], wanted[32], given[32];

    snprintf(operation, sizeof(operation), "set %s", attr->name);
    hal_value_format(asked, wanted, sizeof(wanted));
    hal_value_format(got, given, sizeof(given));
    return hal_fail(-EOPNOTSUPP, operation, uart->node, "asked for %s, the tty stays at %s", wanted,
                    given);
}

/* ---- modem lines ---- */

static const char no_modem[] = "modem lines";

int modem_drive(int fd, int line, bool on)
{
    return ioctl(fd, on ? TIOCMBIS : TIOCMBIC, &line) < 0 ? -errno : 0;
}

static int modem_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    int lines = 0;

    if (ioctl(hal_device_fd(dev), TIOCMGET, &lines) < 0)
        return attribute_fail(dev, attr, "get", -errno, no_modem);
    out->b = lines & (int)attr->tag;
    return 0;
}

static int modem_set(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    int err = modem_drive(hal_device_fd(dev), (int)attr->tag, value->b);

    return err ? attribute_fail(dev, attr, "set", err, no_modem) : 0;
}

/* ---- queues and counters ---- */

static int queue_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    int bytes = 0;

    if (ioctl(hal_device_fd(dev), (unsigned long)attr->tag, &bytes) < 0)
        return attribute_fail(dev, attr, "get", -errno, "queue lengths");
    out->i = bytes;
    return 0;
}

static int count_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    struct serial_icounter_struct counts = {0};
    int count;

    if (ioctl(hal_device_fd(dev), TIOCGICOUNT, &counts) < 0)
        return attribute_fail(dev, attr, "get", -errno, "line counters");
    memcpy(&count, (const char *)&counts + attr->tag, sizeof(count));
    out->i = (uint32_t)count;
    return 0;
}

/* ---- low latency ---- */

static const char no_low_latency[] = "low-latency mode";

static int low_latency_get(struct hal_device *dev, const struct hal_attribute *attr,
                           struct hal_value *out)
{
    struct serial_struct serial = {0};

    if (ioctl(hal_device_fd(dev), TIOCGSERIAL, &serial) < 0)
        return attribute_fail(dev, attr, "get", -errno, no_low_latency);
    out->b = serial.flags & ASYNC_LOW_LATENCY;
    return 0;
}

static int low_latency_set(struct hal_device *dev, const struct hal_attribute *attr,
                           const struct hal_value *value)
{
    int fd = hal_device_fd(dev);
    struct serial_struct serial = {0};
    struct hal_value got = {.type = HAL_TYPE_BOOL};

    if (ioctl(fd, TIOCGSERIAL, &serial) < 0)
        return attribute_fail(dev, attr, "set", -errno, no_low_latency);
    serial.flags &= ~(int)ASYNC_LOW_LATENCY;
    if (value->b)
        serial.flags |= (int)ASYNC_LOW_LATENCY;
    if (ioctl(fd, TIOCSSERIAL, &serial) < 0 || ioctl(fd, TIOCGSERIAL, &serial) < 0)
        return attribute_fail(dev, attr, "set", -errno, no_low_latency);
    got.b = serial.flags & ASYNC_LOW_LATENCY;
    return got.b == value->b ? 0 : attribute_ignored(dev, attr, value, &got);
}

/* ---- what the driver itself keeps ---- */

static int exclusive_get(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    const struct uart *uart = hal_device_state(dev);

    (void)attr;
    out->b = uart->exclusive;
    return 0;
}

static int exclusive_set(struct hal_device *dev, const struct hal_attribute *attr,
                         const struct hal_value *value)
{
    struct uart *uart = hal_device_state(dev);
    int fd = hal_device_fd(dev);
    int err;

    if (value->b == uart->exclusive)
        return 0;
    err = uart_claim(fd, value->b);
    if (err == -EBUSY) {
        flock(fd, LOCK_SH | LOCK_NB); /* a change that fails loses the lock that was held */
        return uart_busy(uart->node);
    }
    if (!err && !value->b && ioctl(fd, TIOCNXCL) < 0)
        err = -errno;
    if (err)
        return attribute_fail(dev, attr, "set", err, "exclusive mode");
    uart->exclusive = value->b;
    return 0;
}

static int restore_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct uart *uart = hal_device_state(dev);

    (void)attr;
    out->b = uart->restore;
    return 0;
}

static int restore_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    struct uart *uart = hal_device_state(dev);

    (void)attr;
    uart->restore = value->b;
    return 0;
}

static int node_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct uart *uart = hal_device_state(dev);
    size_t length = strlen(uart->node);

    if (length >= sizeof(out->s))
        return attribute_fail(dev, attr, "get", -ENAMETOOLONG, NULL);
    memcpy(out->s, uart->node, length + 1);
    return 0;
}

/* ---- the table ---- */

static const char *const parities[] = {"none", "even", "odd", "mark", "space", NULL};
static const char *const flows[] = {"none", "rtscts", "xonxoff", NULL};

#define READ HAL_ATTR_READ
#define SET (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)
#define OF(field) offsetof(struct serial_icounter_struct, field)
#define ROW(name_, unit_, type_, access_, get_, set_, tag_, doc_)                                  \
    .name = name_, .unit = unit_, .doc = doc_, .type = HAL_TYPE_##type_, .access = access_,        \
    .get = get_, .set = set_, .tag = tag_

/* The library sets what a URI gives in this order: the settings of RS-485 come before its switch.
 */
/* clang-format off */
const struct hal_attribute uart_attributes[] = {
    {ROW("baud", "baud", INT, SET, line_get, line_set, LINE_BAUD,
         "Speed. Reads as what the hardware really does."),
     .min = 1, .max = UINT32_MAX, .initial = "115200"},
    {ROW("bits", "bit", INT, SET, line_get, line_set, LINE_BITS,
         "Data bits of a character."),
     .min = 5, .max = 8, .initial = "8"},
    {ROW("parity", NULL, CHOICE, SET, line_get, line_set, LINE_PARITY,
         "Parity bit."),
     .choices = parities, .initial = "none"},
    {ROW("stop", "bit", FLOAT, SET, line_get, line_set, LINE_STOP,
         "Stop bits: 1, 1.5 (with 5 data bits) or 2 (with 6 to 8)."),
     .min = 1, .max = 2, .initial = "1"},
    {ROW("flow", NULL, CHOICE, SET, line_get, line_set, LINE_FLOW,
         "Flow control: by RTS and CTS, or by XON and XOFF characters."),
     .choices = flows, .initial = "none"},
    {ROW("hangup", NULL, BOOL, SET, line_get, line_set, LINE_HANGUP,
         "The last close drops DTR and RTS. Stays as set after the close.")},

    {ROW("exclusive", NULL, BOOL, SET, exclusive_get, exclusive_set, 0,
         "Nobody else may open the line."),
     .initial = "true"},
    {ROW("restore", NULL, BOOL, SET, restore_get, restore_set, 0,
         "Closing puts back the settings that the line had before."),
     .initial = "true"},
    {ROW("low_latency", NULL, BOOL, SET, low_latency_get, low_latency_set, 0,
         "Received bytes are handed over at once, not in batches.")},

    {ROW("dtr", NULL, BOOL, SET, modem_get, modem_set, TIOCM_DTR,
         "Data terminal ready, an output. Opening a line raises it.")},
    {ROW("rts", NULL, BOOL, SET, modem_get, modem_set, TIOCM_RTS,
         "Request to send, an output. Opening a line raises it.")},
    {ROW("cts", NULL, BOOL, READ, modem_get, NULL, TIOCM_CTS, "Clear to send, an input.")},
    {ROW("dsr", NULL, BOOL, READ, modem_get, NULL, TIOCM_DSR, "Data set ready, an input.")},
    {ROW("dcd", NULL, BOOL, READ, modem_get, NULL, TIOCM_CAR, "Data carrier detect, an input.")},
    {ROW("ri", NULL, BOOL, READ, modem_get, NULL, TIOCM_RNG, "Ring indicator, an input.")},

    {ROW("rs485.rts_on_send", NULL, BOOL, SET, rs485_get, rs485_set, RS485_RTS_ON_SEND,
         "RTS is active while sending and inactive after; false: the other way round.")},
    {ROW("rs485.delay_before", "s", FLOAT, SET, rs485_get, rs485_set, RS485_DELAY_BEFORE,
         "From the change of RTS to the first bit, in whole milliseconds."),
     .max = 0.1},
    {ROW("rs485.delay_after", "s", FLOAT, SET, rs485_get, rs485_set, RS485_DELAY_AFTER,
         "From the last bit to the change of RTS, in whole milliseconds."),
     .max = 0.1},
    {ROW("rs485.rx_during_tx", NULL, BOOL, SET, rs485_get, rs485_set, RS485_RX_DURING_TX,
         "Receive also what is being sent.")},
    {ROW("rs485.terminate", NULL, BOOL, SET, rs485_get, rs485_set, RS485_TERMINATE,
         "Connect the bus termination.")},
    {ROW("rs485", NULL, BOOL, SET, rs485_get, rs485_set, RS485_ENABLED,
         "RS-485 mode: RTS switches the transmitter.")},

    {ROW("queue.input", "B", INT, READ, queue_get, NULL, TIOCINQ,
         "Bytes in the kernel that nobody has read.")},
    {ROW("queue.output", "B", INT, READ, queue_get, NULL, TIOCOUTQ,
         "Bytes in the kernel that have not been sent.")},

    {ROW("errors.frame", NULL, INT, READ, count_get, NULL, OF(frame),
         "Characters without a valid stop bit.")},
    {ROW("errors.parity", NULL, INT, READ, count_get, NULL, OF(parity),
         "Characters with wrong parity.")},
    {ROW("errors.overrun", NULL, INT, READ, count_get, NULL, OF(overrun),
         "Overflows of the UART's FIFO.")},
    {ROW("errors.buffer", NULL, INT, READ, count_get, NULL, OF(buf_overrun),
         "Overflows of the kernel's input queue.")},
    {ROW("errors.break", NULL, INT, READ, count_get, NULL, OF(brk), "Breaks received.")},
    {ROW("count.rx", "B", INT, READ, count_get, NULL, OF(rx), "Bytes received.")},
    {ROW("count.tx", "B", INT, READ, count_get, NULL, OF(tx), "Bytes sent.")},
    {ROW("count.cts", NULL, INT, READ, count_get, NULL, OF(cts), "Changes of CTS.")},
    {ROW("count.dsr", NULL, INT, READ, count_get, NULL, OF(dsr), "Changes of DSR.")},
    {ROW("count.dcd", NULL, INT, READ, count_get, NULL, OF(dcd), "Changes of DCD.")},
    {ROW("count.ri", NULL, INT, READ, count_get, NULL, OF(rng), "Ends of ringing.")},

    {ROW("node", NULL, TEXT, READ, node_get, NULL, 0, "The device node, links resolved.")},
};
/* clang-format on */

_Static_assert(sizeof(uart_attributes) / sizeof(uart_attributes[0]) == UART_ATTRIBUTES,
               "UART_ATTRIBUTES counts the rows");
