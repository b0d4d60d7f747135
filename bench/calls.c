/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hal_read() and hal_write() against read(2) and write(2) on the same descriptor: 64 bytes each, on
 * a pseudo-terminal (the uart driver) and on a pipe (loopback). A round times BATCH calls of one
 * kind; kinds alternate, their order changes from round to round; medians are printed as JSON.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/hal.h>

#define SIZE 64
#define BATCH 32
#define ROUNDS 4001

static char block[SIZE * BATCH];

struct line {
    hal_handle device;
    int in, out; /* the device's own descriptors */
    int far;     /* the pty's other end, -1: the device is its own other end */
};

static void die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, hal_last_error());
    exit(1);
}

static void drain(const struct line *line, int fd)
{
    char scratch[sizeof(block)];
    size_t left = sizeof(block);

    (void)line;
    while (left) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        poll(&ready, 1, 1000);
        ssize_t n = read(fd, scratch, left);
        if (n <= 0)
            die("drain");
        left -= (size_t)n;
    }
}

/* Bytes written at the far end have all arrived when the near one can give them. */
static void fill(const struct line *line, int fd)
{
    if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
        die("fill");
    if (line->far >= 0)
        usleep(60); /* a pty hands them over on a kernel worker */
}

static int64_t time_write(const struct line *line, int by_hal)
{
    int64_t start = hal_now(), took;

    for (int i = 0; i < BATCH; i++)
        if ((by_hal ? hal_write(line->device, block, SIZE, HAL_FOREVER)
                    : write(line->out, block, SIZE)) != SIZE)
            die("write");
    took = hal_now() - start;
    drain(line, line->far >= 0 ? line->far : line->in);
    return took;
}

static int64_t time_read(const struct line *line, int by_hal)
{
    char to[SIZE];
    int64_t start, took;

    fill(line, line->far >= 0 ? line->far : line->out);
    start = hal_now();
    for (int i = 0; i < BATCH; i++)
        if ((by_hal ? hal_read(line->device, to, SIZE, HAL_FOREVER) : read(line->in, to, SIZE)) !=
            SIZE)
            die("read");
    took = hal_now() - start;
    return took;
}

static int ascending(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(int64_t *times)
{
    qsort(times, ROUNDS, sizeof(*times), ascending);
    return (double)times[ROUNDS / 2] / BATCH;
}

static void compare(const char *name, const struct line *line,
                    int64_t (*once)(const struct line *, int), const char *end)
{
    static int64_t bare[ROUNDS], hal[ROUNDS];

    for (int round = -200; round < ROUNDS; round++) {
        int first = round & 1;
        for (int turn = 0; turn < 2; turn++) {
            int by_hal = turn ^ first;
            int64_t took = once(line, by_hal);
            if (round >= 0)
                (by_hal ? hal : bare)[round] = took;
        }
    }
    double b = median(bare), h = median(hal);
    printf("  \"%s\": {\"bare_ns\": %.1f, \"hal_ns\": %.1f, \"ratio\": %.3f}%s\n", name, b, h,
           h / b, end);
}

static struct line open_line(const char *uri, int far)
{
    struct line line = {.far = far};

    line.device = hal_open(uri, HAL_NOWAIT);
    if (line.device < 0)
        die("open");
    line.in = hal_fd(line.device, POLLIN);
    line.out = hal_fd(line.device, POLLOUT);
    return line;
}

int main(void)
{
    int far = posix_openpt(O_RDWR | O_NOCTTY);
    char uri[128];
    struct line pty, loop;

    if (far < 0 || grantpt(far) || unlockpt(far))
        die("pty");
    snprintf(uri, sizeof(uri), "uart:%s", ptsname(far));
    pty = open_line(uri, far);
    loop = open_line("loopback:", -1);
    puts("{");
    compare("pty write", &pty, time_write, ",");
    compare("pty read", &pty, time_read, ",");
    compare("pipe write", &loop, time_write, ",");
    compare("pipe read", &loop, time_read, "");
    puts("}");
    return 0;
}
