/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reader of a device costs its writer. The driver does nothing, so what is left is the
 * library's: in each round a thread writes while another reads a device of its own, and while it
 * reads this one; medians are printed as JSON. Times are the writer's own (processor time).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <hal/driver.h>
#include <hal/hal.h>

#define BATCH 400000 /* what is shorter is mostly the start of the thread beside it */
#define ROUNDS 41
#define FAR 8 /* devices between the two, so that they share no cache line */

static atomic_int reading, stop;

static int init(struct hal_device *dev)
{
    (void)dev;
    return 0;
}

static ssize_t take(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)dev;
    (void)buf;
    (void)until;
    return (ssize_t)len;
}

static ssize_t give(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)dev;
    (void)buf;
    (void)until;
    return (ssize_t)len;
}

static void *read_on(void *device)
{
    char to[64];

    atomic_store(&reading, 1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        hal_read(*(hal_handle *)device, to, sizeof(to), HAL_FOREVER);
    return NULL;
}

static double processor_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Nanoseconds of a write while another thread reads. */
static double time_write(hal_handle device, hal_handle read)
{
    static const char from[64];
    pthread_t reader;
    double start, took;

    atomic_store(&reading, 0);
    atomic_store(&stop, 0);
    if (pthread_create(&reader, NULL, read_on, &read))
        exit(1);
    while (!atomic_load(&reading)) {
        /* it starts */
    }
    start = processor_time();
    for (int i = 0; i < BATCH; i++)
        hal_write(device, from, sizeof(from), HAL_FOREVER);
    took = processor_time() - start;
    atomic_store(&stop, 1);
    pthread_join(reader, NULL);
    return took / BATCH;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

int main(void)
{
    static struct driver_ops ops = {.init = init, .read = take, .write = give};
    static double apart[ROUNDS], together[ROUNDS];
    hal_handle device[FAR];

    hal_register_driver("nothing", &ops);
    for (int i = 0; i < FAR; i++)
        if ((device[i] = hal_open("nothing:", HAL_FOREVER)) < 0)
            return fprintf(stderr, "bench: %s\n", hal_last_error()), 1;
    for (int round = 0; round < ROUNDS; round++) {
        apart[round] = time_write(device[0], device[FAR - 1]);
        together[round] = time_write(device[0], device[0]);
    }
    qsort(apart, ROUNDS, sizeof(apart[0]), ascending);
    qsort(together, ROUNDS, sizeof(together[0]), ascending);
    printf("{\"apart_ns\": %.1f, \"together_ns\": %.1f}\n", apart[ROUNDS / 2],
           together[ROUNDS / 2]);
    return 0;
}
