/* SPDX-License-Identifier: Apache-2.0 */
/* Serial lines on the kernel's tty layer. Sources: termios(3), ioctl_tty(2), tty(4). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hal/uart.h>

#include "uart.h"

#define NS_PER_MS 1000000
#define BREAK_MAX_MS 5000

/* ---- errors ---- */

static bool hung_up(int fd)
{
    struct pollfd line = {.fd = fd};

    return poll(&line, 1, 0) == 1 && (line.revents & POLLHUP);
}

int uart_fail(struct hal_device *dev, int err, const char *operation, const char *lacking)
{
    const struct uart *uart;

    if (err == -EAGAIN || err == -EINTR)
        return err;
    uart = hal_device_state(dev);
    if (err == -ENODEV || err == -ENXIO || hung_up(hal_device_fd(dev)))
        return hal_fail(-ENODEV, operation, uart->node,
                        "the line hung up: the adapter was unplugged, or the other end of the "
                        "pseudo-terminal closed; open it again when it is back");
    if (lacking && (err == -ENOTTY || err == -EINVAL || err == -ENOSYS))
        return hal_fail(-EOPNOTSUPP, operation, uart->node, "this tty has no %s", lacking);
    return hal_fail(err, operation, uart->node, NULL);
}

/* Nothing was read. A line in raw mode gives 0 only when it hung up; if somebody else has changed
 * its mode, 0 means that there is nothing now. */
static ssize_t nothing_read(struct hal_device *dev, ssize_t n)
{
    if (n == 0)
        return hung_up(hal_device_fd(dev)) ? uart_fail(dev, -ENODEV, "read", NULL) : -EAGAIN;
    return uart_fail(dev, -errno, "read", NULL);
}

static ssize_t nothing_written(struct hal_device *dev, ssize_t n)
{
    return n == 0 ? -EAGAIN : uart_fail(dev, -errno, "write", NULL);
}

/* ---- bytes ---- */

static ssize_t uart_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t n = read(hal_device_fd(dev), buf, len);

    (void)until;
    return n > 0 ? n : nothing_read(dev, n);
}

static ssize_t uart_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    ssize_t n = write(hal_device_fd(dev), buf, len);

    (void)until;
    return n > 0 ? n : nothing_written(dev, n);
}

/* ---- requests ---- */

/* Sleep until `at`, or fail with the deadline, a cancel, a signal, the end of the line. */
static int sleep_until(struct hal_device *dev, hal_deadline at, hal_deadline until,
                       const char *operation)
{
    int rc;

    do {
        rc = hal_device_wait(dev, HAL_LANE_CONTROL, hal_device_fd(dev), 0, at < until ? at : until);
    } while (rc == 0);
    if (rc > 0)
        return uart_fail(dev, -ENODEV, operation, NULL);
    return rc == -ETIMEDOUT && at < until ? 0 : rc;
}

static int drain(struct hal_device *dev, hal_deadline until, const char *operation)
{
    int fd = hal_device_fd(dev);
    struct line_drain state;
    int64_t left = line_drain_begin(fd, &state);

    if (left)
        return uart_fail(dev, (int)left, operation, NULL);
    while ((left = line_unsent(fd, &state)) > 0) {
        int err = sleep_until(dev, hal_after(left < LINE_STEP_NS ? left : LINE_STEP_NS), until,
                              operation);
        if (err)
            return err;
    }
    return left ? uart_fail(dev, (int)left, operation, NULL) : 0;
}

/* TIOCSBRK waits by itself for what was written, deaf to cancel and deadline: drain first. */
static int send_break(struct hal_device *dev, uint32_t ms, hal_deadline until)
{
    const struct uart *uart = hal_device_state(dev);
    int fd = hal_device_fd(dev);
    int err;

    if (ms < 1 || ms > BREAK_MAX_MS)
        return hal_fail_plain(-ERANGE, "break", uart->node, "%u ms is outside 1 .. %d ms", ms,
                              BREAK_MAX_MS);
    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    err = drain(dev, until, "break");
    if (err)
        return err;
    if (ioctl(fd, TIOCSBRK) < 0)
        return uart_fail(dev, -errno, "break", "break");
    err = sleep_until(dev, hal_after((int64_t)ms * NS_PER_MS), until, "break");
    if (ioctl(fd, TIOCCBRK) < 0 && !err)
        return uart_fail(dev, -errno, "break", "break");
    return err;
}

static int flush(struct hal_device *dev, uint32_t queues)
{
    static const int selector[] = {[HAL_UART_INPUT] = TCIFLUSH,
                                   [HAL_UART_OUTPUT] = TCOFLUSH,
                                   [HAL_UART_INPUT | HAL_UART_OUTPUT] = TCIOFLUSH};
    const struct uart *uart = hal_device_state(dev);

    if (queues < 1 || queues > (HAL_UART_INPUT | HAL_UART_OUTPUT))
        return hal_fail_plain(-EINVAL, "flush", uart->node,
                              "no such queue: %u (1 input, 2 output, 3 both)", queues);
    if (ioctl(hal_device_fd(dev), TCFLSH, selector[queues]) < 0)
        return uart_fail(dev, -errno, "flush", NULL);
    if (queues & HAL_UART_INPUT)
        hal_device_drop_input(dev);
    return 0;
}

static int wrong_size(struct hal_device *dev, const char *operation, size_t size, size_t expected)
{
    const struct uart *uart = hal_device_state(dev);

    return hal_fail_plain(-EINVAL, operation, uart->node,
                          "the argument has %zu bytes where %zu belong", size, expected);
}

static long uart_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                         hal_deadline until)
{
    uint32_t value = 0;

    if (size == sizeof(value))
        memcpy(&value, arg, sizeof(value));
    switch (request) {
    case HAL_UART_BREAK:
        return size == sizeof(value) ? send_break(dev, value, until)
                                     : wrong_size(dev, "break", size, sizeof(value));
    case HAL_UART_DRAIN:
        return size == 0 ? drain(dev, until, "drain") : wrong_size(dev, "drain", size, 0);
    case HAL_UART_FLUSH:
        return size == sizeof(value) ? flush(dev, value)
                                     : wrong_size(dev, "flush", size, sizeof(value));
    default:
        return -ENOTTY;
    }
}

/* ---- opening ---- */

int uart_busy(const char *node)
{
    char who[256];

    if (hal_node_holders(node, who, sizeof(who)) == 0)
        return hal_fail(-EBUSY, "open", node, "held by a process that /proc does not show");
    return hal_fail(-EBUSY, "open", node, "held by %s", who);
}

/* TIOCEXCL keeps others out, but not root: flock(2) is what well-behaved programs agree by. */
int uart_claim(int fd, bool exclusive)
{
    if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    return exclusive && ioctl(fd, TIOCEXCL) < 0 ? -errno : 0;
}

static bool marked_exclusive(int fd)
{
    int marked = 0;

    return ioctl(fd, TIOCGEXCL, &marked) == 0 && marked;
}

/* Linux makes nodes of UARTs that may be there; of one that is not, even settings give EIO. */
static int check_tty(int fd, const char *node)
{
    struct termios2 line;
    int err = line_load(fd, &line);

    if (err == -EIO && !hung_up(fd))
        return hal_fail(-ENODEV, "open", node,
                        "the node is there, but the kernel found no UART behind it");
    if (err == -EIO)
        return hal_fail(-ENODEV, "open", node, "the line hung up");
    return err ? hal_fail(-ENOTTY, "open", node, "not a serial line") : 0;
}

/* A descriptor that is ours, or a worded failure. */
static int open_line(const char *path, const char *node, bool exclusive, bool heed_mark)
{
    bool marked;
    char who[256];
    int fd, err;

    fd = hal_open_node(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fd;
    err = check_tty(fd, node);
    if (err) {
        close(fd);
        return err;
    }
    marked = heed_mark && exclusive && marked_exclusive(fd);
    err = uart_claim(fd, exclusive);
    if (!err && !marked)
        return fd;
    close(fd); /* or we would be among the holders */
    if (err)
        return err == -EBUSY ? uart_busy(node) : hal_fail(err, "open", node, NULL);
    /* Only root comes past the mark of somebody who does not use flock(2). On a pseudo-terminal
     * the mark outlives the process that made it, and then binds nobody. */
    if (hal_node_holders(node, who, sizeof(who)) != 0)
        return uart_busy(node);
    return open_line(path, node, exclusive, false);
}

/* Opening has effects on some nodes, so a wrong one is not opened to find that out. */
static int check_node(const char *path, const char *node)
{
    struct stat st;

    if (stat(path, &st) < 0 || S_ISCHR(st.st_mode))
        return 0; /* what stat(2) cannot say, open(2) will */
    return hal_fail(-ENOTTY, "open", node, "%s is not a serial line",
                    S_ISDIR(st.st_mode)    ? "a folder"
                    : S_ISREG(st.st_mode)  ? "an ordinary file"
                    : S_ISFIFO(st.st_mode) ? "a named pipe"
                                           : "this kind of node");
}

static bool option_true(const struct hal_device *dev, const char *name)
{
    struct hal_value value;

    return hal_device_option(dev, name, &value) >= 0 && value.b;
}

/* Linux raises DTR and RTS in open(2). Where the user wants them low that is corrected before
 * anything else; whether it worked is told when the library sets them again. */
static void lower_modem_lines(struct hal_device *dev)
{
    struct hal_value value;

    if (hal_device_option(dev, "dtr", &value) == 1 && !value.b)
        modem_drive(hal_device_fd(dev), TIOCM_DTR, false);
    if (hal_device_option(dev, "rts", &value) == 1 && !value.b)
        modem_drive(hal_device_fd(dev), TIOCM_RTS, false);
}

static int set_up(struct hal_device *dev, struct uart *uart)
{
    struct line_wish wish = {.which = 0};
    int err = line_load(hal_device_fd(dev), &uart->saved);

    if (err)
        return uart_fail(dev, err, "open", NULL);
    for (int i = 0; i < LINE_SETTINGS; i++)
        if (hal_device_option(dev, uart_attributes[i].name, &wish.value[i]) >= 0)
            wish.which |= 1u << i;
    return line_open(dev, &wish);
}

static void uart_free(struct uart *uart)
{
    free(uart->node);
    free(uart);
}

static int uart_open(struct hal_device *dev, struct uart *uart, const char *path)
{
    int fd = check_node(path, uart->node);

    if (fd == 0)
        fd = open_line(path, uart->node, uart->exclusive, true);
    if (fd < 0)
        return fd;
    hal_device_set_fd(dev, fd);
    lower_modem_lines(dev);
    return set_up(dev, uart);
}

static int uart_init(struct hal_device *dev)
{
    const char *address = hal_device_address(dev);
    char path[HAL_URI_MAX + sizeof("/dev/")];
    struct uart *uart;
    int err;

    if (!*address)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which line? Name its node, as in uart:/dev/ttyUSB0");
    uart = calloc(1, sizeof(*uart));
    if (!uart)
        return -ENOMEM;
    snprintf(path, sizeof(path), "%s%s", *address == '/' ? "" : "/dev/", address);
    uart->node = realpath(path, NULL);
    if (!uart->node)
        uart->node = strdup(path);
    uart->exclusive = option_true(dev, "exclusive");
    uart->restore = option_true(dev, "restore");
    uart->rs485.flags = SER_RS485_RTS_ON_SEND;
    hal_device_set_state(dev, uart);
    err = uart->node ? uart_open(dev, uart, path) : -ENOMEM;
    if (err) {
        if (uart->exclusive)
            ioctl(hal_device_fd(dev), TIOCNXCL);
        hal_device_set_state(dev, NULL);
        uart_free(uart);
    }
    return err;
}

static void uart_fini(struct hal_device *dev)
{
    struct uart *uart = hal_device_state(dev);
    int fd = hal_device_fd(dev);

    /* Who shares the line still needs its settings: the last one puts them back. */
    if (uart->restore && flock(fd, LOCK_EX | LOCK_NB) == 0)
        line_restore(fd, &uart->saved);
    if (uart->exclusive)
        ioctl(fd, TIOCNXCL);
    uart_free(uart);
}

static const struct hal_match matches[] = {
    {"subsystem:tty", "{node}", "a serial line"},
};

static const struct driver_ops uart_ops = {
    .init = uart_init,
    .read = uart_read,
    .write = uart_write,
    .fini = uart_fini,
    .control = uart_control,
    .summary = "Serial lines: UARTs, USB adapters, pseudo-terminals",
    .address = "/dev/ttyX",
    .flags = HAL_DRIVER_PLAIN_IO,
    .attributes = uart_attributes,
    .attribute_count = UART_ATTRIBUTES,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("uart", &uart_ops, "0.1.0");
