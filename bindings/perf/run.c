/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a pattern for a time, in one thread or several that begin together. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <hal/deadline.h>

#include "kernel.h"
#include "order.h"
#include "perf.h"

#define CLOCK_EVERY 20000 /* nanoseconds: reading the clock is then below 1 % of the time */
#define THREADS_MAX 1024

enum start { WAIT, GO, GIVE_UP };

/* One thread's work. */
struct worker {
    const struct perf_task *task;
    struct pattern pattern;
    struct walk walk;
    atomic_int *ready;
    atomic_int *start;
    pthread_t thread;
    uint64_t lines;
    uint64_t nanoseconds;
    double share;
    int err;
};

static int go(struct walk *walk, struct pattern pattern, uint64_t count)
{
    int err = 0;

    if (pattern.random)
        return pattern.run(walk, count);
    while (count && !err) {
        uint64_t room = walk->row - (walk->position & (walk->row - 1));
        uint64_t some = count < room ? count : room;

        err = pattern.run(walk, some);
        walk->position = (walk->position + some) & (walk->lines - 1);
        count -= some;
    }
    return err;
}

/* Time that this thread had a processor: what other programs took does not count. */
static uint64_t processor_time(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/*
 * Work until the time, or the limit, is reached. The steps between two looks at the clock grow.
 *
 * A single thread is timed by the time it had the processor. Several are timed by the clock on the
 * wall: they count as working beside each other only while they do.
 */
static int work(struct worker *worker, struct pattern pattern, uint64_t limit)
{
    uint64_t budget = worker->task->budget, step = 1, lines = 0;
    uint64_t had = processor_time();
    int64_t start = hal_now(), last = start, now;
    int err;

    do {
        if (limit && step > limit - lines)
            step = limit - lines;
        err = go(&worker->walk, pattern, step);
        lines += step;
        now = hal_now();
        if (now - last < CLOCK_EVERY)
            step *= 2;
        last = now;
    } while (!err && (uint64_t)(now - start) < budget && lines != limit);
    had = processor_time() - had;
    worker->lines = lines;
    worker->nanoseconds = had && worker->task->threads == 1 ? had : (uint64_t)(now - start);
    worker->share = now > start ? (double)had / (double)(now - start) : 1;
    return err;
}

static void warm_up(struct worker *worker)
{
    struct pattern reading = kernel_of(PERF_READ, 0);
    uint64_t position = worker->walk.position;

    worker->walk.position = 0;
    work(worker, reading, worker->walk.lines);
    worker->walk.position = position;
}

static void prepare(struct worker *worker)
{
    if (worker->task->warm && !worker->task->width)
        warm_up(worker);
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    int start;

    prepare(worker);
    atomic_fetch_add(worker->ready, 1);
    while ((start = atomic_load(worker->start)) == WAIT)
        sched_yield();
    if (start == GO)
        worker->err = work(worker, worker->pattern, worker->task->limit);
    return NULL;
}

static int run_threads(struct worker *workers, unsigned count)
{
    atomic_int ready = 0, start = WAIT;
    unsigned made = 0;
    int err = 0;

    for (; made < count && !err; made++) {
        workers[made].ready = &ready;
        workers[made].start = &start;
        err = -pthread_create(&workers[made].thread, NULL, thread_main, &workers[made]);
    }
    made -= err != 0;
    while (!err && atomic_load(&ready) < (int)count)
        sched_yield();
    atomic_store(&start, err ? GIVE_UP : GO);
    for (unsigned i = 0; i < made; i++)
        pthread_join(workers[i].thread, NULL);
    return err;
}

static int power_of_two(uint64_t number)
{
    return number && !(number & (number - 1));
}

/* A thread's part of a size: the greatest power of two that all threads have. */
static size_t share(size_t size, unsigned threads)
{
    return size ? (size_t)1 << (63 - __builtin_clzll(size / threads)) : 0;
}

static int check(const struct perf_task *task)
{
    uint64_t least = LINE * task->threads;
    int copies = task->pattern >= PERF_COPY_OUT && task->pattern <= PERF_COPY_IN_NT;

    if (!kernel_of(task->pattern, task->width).run || !task->threads ||
        task->threads > THREADS_MAX || !power_of_two(task->size) || task->size < least ||
        !task->block || (uintptr_t)task->block % sizeof(uint64_t) ||
        (task->width && task->width != 4 && task->width != 8))
        return -EINVAL;
    if (copies && (!task->other || !power_of_two(task->other_size) || task->other_size < least ||
                   task->other_size > task->size))
        return -EINVAL;
    return 0;
}

static void part(struct worker *worker, struct perf_task *task, unsigned number)
{
    size_t size = share(task->size, task->threads);
    size_t other = share(task->other_size, task->threads);

    worker->task = task;
    worker->pattern = kernel_of(task->pattern, task->width);
    worker->walk.block = (char *)task->block + number * size;
    worker->walk.lines = size / LINE;
    worker->walk.row = task->other ? other / LINE : worker->walk.lines;
    worker->walk.other = task->other ? (char *)task->other + number * other : NULL;
    worker->walk.position = task->position & (worker->walk.lines - 1);
    worker->walk.width = task->width;
}

static int gather(const struct worker *workers, struct perf_task *task, struct perf_result *result)
{
    uint64_t time = 0;
    int err = 0;

    *result = (struct perf_result){0};
    for (unsigned i = 0; i < task->threads; i++) {
        const struct worker *worker = &workers[i];

        result->lines += worker->lines;
        time += worker->nanoseconds;
        if (worker->nanoseconds)
            result->rate += (double)worker->lines * 1e9 / (double)worker->nanoseconds;
        result->share += worker->share / task->threads;
        err = err ? err : worker->err;
    }
    result->nanoseconds = time / (task->threads ? task->threads : 1);
    task->position = workers[0].walk.position;
    return err;
}

int perf_run(struct perf_task *task, struct perf_result *result)
{
    struct worker *workers;
    int err = check(task);

    if (err)
        return err;
    workers = calloc(task->threads, sizeof(*workers));
    if (!workers)
        return -ENOMEM;
    for (unsigned i = 0; i < task->threads; i++)
        part(&workers[i], task, i);
    if (task->threads > 1) {
        err = run_threads(workers, task->threads);
    } else {
        prepare(workers);
        workers->err = work(workers, workers->pattern, task->limit);
    }
    if (!err)
        err = gather(workers, task, result);
    free(workers);
    return err;
}

void perf_order(uint64_t lines, uint64_t *position, size_t count, uint64_t *out)
{
    struct order order = order_of(lines);

    for (size_t i = 0; i < count; i++) {
        out[i] = order_line(order, *position);
        *position = order_next(order, *position);
    }
}
