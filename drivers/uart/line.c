/* SPDX-License-Identifier: Apache-2.0 */
/* Speed, frame and flow control: what termios(3) holds. Every change is read back, since a tty
 * drops what it cannot do without an error. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "uart.h"

#define NS_PER_S 1000000000
#define NS_PER_MS 1000000
#define BITS_A_BYTE 12    /* start, 8 data, parity, 2 stop: the longest frame */
#define LARGEST_FIFO 4096 /* bytes */
#define XON 0x11
#define XOFF 0x13

/* Speeds that have a code of their own. Others are given by number (BOTHER), which programs that
 * know only the codes, such as an older stty, show as nonsense. */
static const struct {
    speed_t baud;
    tcflag_t code;
} speeds[] = {
    {50, B50},           {75, B75},           {110, B110},         {150, B150},
    {200, B200},         {300, B300},         {600, B600},         {1200, B1200},
    {1800, B1800},       {2400, B2400},       {4800, B4800},       {9600, B9600},
    {19200, B19200},     {38400, B38400},     {57600, B57600},     {115200, B115200},
    {230400, B230400},   {460800, B460800},   {500000, B500000},   {576000, B576000},
    {921600, B921600},   {1000000, B1000000}, {1152000, B1152000}, {1500000, B1500000},
    {2000000, B2000000}, {2500000, B2500000}, {3000000, B3000000}, {3500000, B3500000},
    {4000000, B4000000},
};

static const struct {
    const char *name;
    tcflag_t flags;
} parities[] = {
    {"none", 0},
    {"even", PARENB},
    {"odd", PARENB | PARODD},
    {"mark", PARENB | PARODD | CMSPAR},
    {"space", PARENB | CMSPAR},
};

static tcflag_t speed_code(speed_t baud)
{
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
        if (speeds[i].baud == baud)
            return speeds[i].code;
    return BOTHER;
}

static speed_t code_speed(tcflag_t code)
{
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
        if (speeds[i].code == code)
            return speeds[i].baud;
    return 0;
}

/* ---- the kernel's side ---- */

/* Sandboxes and user-mode emulators know only the older pair of requests, whose structure is the
 * beginning of the newer one. */
static bool unknown_request(void)
{
    return errno == ENOTTY || errno == ENOSYS;
}

int line_load(int fd, struct termios2 *line)
{
    if (ioctl(fd, TCGETS2, line) == 0)
        return 0;
    if (!unknown_request() || ioctl(fd, TCGETS, line) < 0)
        return -errno;
    line->c_ispeed = line->c_ospeed = code_speed(line->c_cflag & CBAUD);
    return 0;
}

static int line_store(int fd, const struct termios2 *line)
{
    if (ioctl(fd, TCSETS2, line) == 0)
        return 0;
    if (!unknown_request() || (line->c_cflag & CBAUD) == BOTHER || ioctl(fd, TCSETS, line) < 0)
        return -errno;
    return 0;
}

static void make_raw(struct termios2 *line)
{
    line->c_iflag = 0;
    line->c_oflag = 0;
    line->c_lflag = 0;
    line->c_cflag |= CREAD | CLOCAL;
    /* With VMIN 0 a read of an empty line gives 0, which must mean "hung up" alone. */
    line->c_cc[VMIN] = 1;
    line->c_cc[VTIME] = 0;
    line->c_cc[VSTART] = XON;
    line->c_cc[VSTOP] = XOFF;
}

/* ---- one setting ---- */

static int line_bits(const struct termios2 *line)
{
    switch (line->c_cflag & CSIZE) {
    case CS5:
        return 5;
    case CS6:
        return 6;
    case CS7:
        return 7;
    default:
        return 8;
    }
}

static const char *line_parity(const struct termios2 *line)
{
    tcflag_t flags = line->c_cflag & (PARENB | PARODD | CMSPAR);

    for (size_t i = 0; i < sizeof(parities) / sizeof(parities[0]); i++)
        if (parities[i].flags == flags)
            return parities[i].name;
    return "none"; /* PARODD and CMSPAR mean nothing without PARENB */
}

static double line_stop(const struct termios2 *line)
{
    if (!(line->c_cflag & CSTOPB))
        return 1;
    return line_bits(line) == 5 ? 1.5 : 2;
}

static const char *line_flow(const struct termios2 *line)
{
    if (line->c_cflag & CRTSCTS)
        return "rtscts";
    return line->c_iflag & (IXON | IXOFF) ? "xonxoff" : "none";
}

static void decode(const struct termios2 *line, int64_t setting, struct hal_value *out)
{
    switch (setting) {
    case LINE_BAUD:
        out->type = HAL_TYPE_INT;
        out->i = line->c_ospeed;
        break;
    case LINE_BITS:
        out->type = HAL_TYPE_INT;
        out->i = line_bits(line);
        break;
    case LINE_PARITY:
        out->type = HAL_TYPE_CHOICE;
        strcpy(out->s, line_parity(line));
        break;
    case LINE_STOP:
        out->type = HAL_TYPE_FLOAT;
        out->f = line_stop(line);
        break;
    case LINE_FLOW:
        out->type = HAL_TYPE_CHOICE;
        strcpy(out->s, line_flow(line));
        break;
    default:
        out->type = HAL_TYPE_BOOL;
        out->b = line->c_cflag & HUPCL;
        break;
    }
}

static void put(tcflag_t *flags, tcflag_t mask, tcflag_t value)
{
    *flags = (*flags & ~mask) | value;
}

static void encode(struct termios2 *line, int64_t setting, const struct hal_value *value)
{
    static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};

    switch (setting) {
    case LINE_BAUD:
        /* An input speed of code 0 means "the same". */
        put(&line->c_cflag, CBAUD | CIBAUD, speed_code((speed_t)value->i));
        line->c_ispeed = line->c_ospeed = (speed_t)value->i;
        break;
    case LINE_BITS:
        put(&line->c_cflag, CSIZE, sizes[value->i - 5]);
        break;
    case LINE_PARITY:
        for (size_t i = 0; i < sizeof(parities) / sizeof(parities[0]); i++)
            if (!strcmp(parities[i].name, value->s))
                put(&line->c_cflag, PARENB | PARODD | CMSPAR, parities[i].flags);
        break;
    case LINE_STOP:
        put(&line->c_cflag, CSTOPB, value->f > 1 ? CSTOPB : 0);
        break;
    case LINE_FLOW:
        put(&line->c_cflag, CRTSCTS, strcmp(value->s, "rtscts") ? 0 : CRTSCTS);
        put(&line->c_iflag, IXON | IXOFF | IXANY, strcmp(value->s, "xonxoff") ? 0 : IXON | IXOFF);
        break;
    default:
        put(&line->c_cflag, HUPCL, value->b ? HUPCL : 0);
        break;
    }
}

/* A speed may be off by what a receiver tolerates: divisors are whole numbers. */
static bool near(int64_t asked, int64_t got)
{
    int64_t off = asked > got ? asked - got : got - asked;

    return off * 100 <= asked * 3;
}

static bool same(int64_t setting, const struct hal_value *a, const struct hal_value *b)
{
    switch (setting) {
    case LINE_BAUD:
        return near(a->i, b->i);
    case LINE_BITS:
        return a->i == b->i;
    case LINE_STOP:
        return a->f == b->f;
    case LINE_HANGUP:
        return a->b == b->b;
    default:
        return !strcmp(a->s, b->s);
    }
}

/* ---- changes ---- */

/* Only stop bits depend on another setting: with CSTOPB a UART sends 1.5 of them after 5 data
 * bits and 2 after more. */
static int check_stop(struct hal_device *dev, const struct termios2 *line,
                      const struct line_wish *wish)
{
    const struct uart *uart = hal_device_state(dev);

    if (!(wish->which & 1u << LINE_STOP) || wish->value[LINE_STOP].f == line_stop(line))
        return 0;
    return hal_fail_plain(-EINVAL, "set stop", uart->node,
                          "%g stop bits cannot be had with %d data bits (1 always can, 1.5 with 5, "
                          "2 with 6 to 8)",
                          wish->value[LINE_STOP].f, line_bits(line));
}

/* Compare all settings, not just those wished for: nothing else may change either. */
static int check_taken(struct hal_device *dev, const struct termios2 *asked,
                       const struct termios2 *got)
{
    for (int i = 0; i < LINE_SETTINGS; i++) {
        struct hal_value a, b;

        decode(asked, i, &a);
        decode(got, i, &b);
        if (!same(i, &a, &b))
            return attribute_ignored(dev, &uart_attributes[i], &a, &b);
    }
    return 0;
}

static int change(struct hal_device *dev, const struct line_wish *wish, bool raw,
                  const char *operation)
{
    int fd = hal_device_fd(dev);
    struct termios2 old, line, got;
    int err = line_load(fd, &old);

    if (err)
        return uart_fail(dev, err, operation, NULL);
    line = old;
    if (raw)
        make_raw(&line);
    for (int i = 0; i < LINE_SETTINGS; i++)
        if (wish->which & 1u << i)
            encode(&line, i, &wish->value[i]);
    err = check_stop(dev, &line, wish);
    if (err || !memcmp(&line, &old, sizeof(line)))
        return err;
    err = line_store(fd, &line);
    if (!err)
        err = line_load(fd, &got);
    if (err)
        return uart_fail(dev, err, operation, "such setting");
    err = check_taken(dev, &line, &got);
    if (err)
        line_store(fd, &old);
    return err;
}

int line_open(struct hal_device *dev, const struct line_wish *wish)
{
    return change(dev, wish, true, "open");
}

int line_set(struct hal_device *dev, const struct hal_attribute *attr,
             const struct hal_value *value)
{
    struct line_wish wish = {.which = 1u << attr->tag};
    char operation[HAL_NAME_MAX + 5] = "set ";

    wish.value[attr->tag] = *value;
    return change(dev, &wish, false, strcat(operation, attr->name));
}

int line_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    struct termios2 line;
    int err = line_load(hal_device_fd(dev), &line);

    if (err)
        return attribute_fail(dev, attr, "get", err, NULL);
    decode(&line, attr->tag, out);
    return 0;
}

/* ---- what is still to be sent ---- */

static int64_t time_of(const struct termios2 *line, int64_t bytes)
{
    int64_t baud = line->c_ospeed ? line->c_ospeed : 9600;

    return bytes * BITS_A_BYTE * NS_PER_S / baud;
}

/* Behind the kernel's queue is the UART's own FIFO, which not every tty can tell about. A
 * transmitter that nobody holds back and that is busy for longer than any FIFO lasts belongs to an
 * adapter that never says otherwise. */
static bool transmitting(int fd, struct line_drain *drain)
{
    unsigned status = 0;

    if (ioctl(fd, TIOCSERGETLSR, &status) < 0 || (status & TIOCSER_TEMT))
        return false;
    if ((drain->line.c_cflag & CRTSCTS) || (drain->line.c_iflag & IXON))
        return true;
    if (!drain->patience)
        drain->patience = hal_after(time_of(&drain->line, LARGEST_FIFO));
    return hal_now() < drain->patience;
}

int line_drain_begin(int fd, struct line_drain *drain)
{
    drain->patience = 0;
    return line_load(fd, &drain->line);
}

int64_t line_unsent(int fd, struct line_drain *drain)
{
    int queued = 0;

    if (ioctl(fd, TIOCOUTQ, &queued) < 0)
        return -errno;
    if (queued > 0)
        drain->patience = 0;
    else if (!transmitting(fd, drain))
        return 0;
    return time_of(&drain->line, queued + 1);
}

/* Wait for twice the time that the line needs. What is left then is held back by flow control and
 * is dropped, for at another speed it would arrive as noise. */
static void settle(int fd)
{
    struct line_drain drain;
    int64_t left = line_drain_begin(fd, &drain) ? 0 : line_unsent(fd, &drain);
    hal_deadline until = hal_after(2 * left + 500 * NS_PER_MS);

    while (left > 0) {
        int64_t ns = left < LINE_STEP_NS ? left : LINE_STEP_NS;
        struct timespec pause = {.tv_nsec = (long)ns};

        if (hal_now() >= until) {
            ioctl(fd, TCFLSH, TCOFLUSH);
            return;
        }
        nanosleep(&pause, NULL);
        left = line_unsent(fd, &drain);
    }
}

void line_restore(int fd, const struct termios2 *saved)
{
    struct termios2 now, line = *saved;

    settle(fd);
    if (line_load(fd, &now))
        return; /* gone, and its settings with it */
    /* HUPCL acts at the close that comes next, so it stays as the user set it. */
    put(&line.c_cflag, HUPCL, now.c_cflag & HUPCL);
    line_store(fd, &line);
}
