/* SPDX-License-Identifier: Apache-2.0 */
/* One call at a time, in one direction of one device, with a deadline and a cancel for everybody
 * who waits: for the lane itself (futex(2)) or, holding it, for the device (ppoll(2)). */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "futex.h"
#include "internal.h"

void lane_init(struct lane *lane)
{
    /* The cancel count goes on from the slot's last device: who still waits here was told. */
    atomic_store_explicit(&lane->wakes, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->wake_fd, -1, memory_order_relaxed);
    lane->seen = 0;
}

void lane_fini(struct lane *lane)
{
    int fd = atomic_exchange(&lane->wake_fd, -1);

    if (fd >= 0)
        close(fd);
}

/* Take the lane if it is free. It is marked as waited for, since somebody else may still be. */
static bool take_contended(struct lane *lane, uint32_t *word)
{
    while ((*word & LANE_STATE) == 0)
        if (atomic_compare_exchange_weak_explicit(&lane->word, word, *word | 2,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/* Make sure that the holder wakes us when it leaves. False when the word has changed. */
static bool announce(struct lane *lane, uint32_t *word)
{
    uint32_t waited = (*word & ~LANE_STATE) | 2;

    if (*word == waited)
        return true;
    if (!atomic_compare_exchange_strong_explicit(&lane->word, word, waited, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    *word = waited;
    return true;
}

/* Somebody who was woken and does not take the lane passes the wake on. */
static int give_up(struct lane *lane, int err)
{
    futex_wake(&lane->word, 1);
    return err;
}

int lane_enter_slow(struct lane *lane, uint32_t cancels, hal_deadline until)
{
    uint32_t word = atomic_load_explicit(&lane->word, memory_order_relaxed);
    int err;

    for (;;) {
        if (take_contended(lane, &word)) {
            if ((word & ~LANE_STATE) == cancels)
                return 0;
            lane_leave(lane);
            return -ECANCELED;
        }
        if ((word & ~LANE_STATE) != cancels)
            return give_up(lane, -ECANCELED);
        if (until <= HAL_NOWAIT)
            return give_up(lane, -EAGAIN);
        if (!announce(lane, &word))
            continue;
        err = futex_wait(&lane->word, word, until);
        if (err == -ETIMEDOUT || err == -EINTR)
            return give_up(lane, err);
        word = atomic_load_explicit(&lane->word, memory_order_relaxed);
    }
}

void lane_enter_forever(struct lane *lane)
{
    uint32_t word = atomic_load_explicit(&lane->word, memory_order_relaxed);

    while (!take_contended(lane, &word)) {
        if (announce(lane, &word))
            futex_wait(&lane->word, word, HAL_FOREVER);
        word = atomic_load_explicit(&lane->word, memory_order_relaxed);
    }
    lane->cancels = word & ~LANE_STATE;
}

void lane_leave_slow(struct lane *lane)
{
    /* lane_leave() took one off the 2 of "held and waited for". */
    atomic_fetch_sub_explicit(&lane->word, 1, memory_order_release);
    futex_wake(&lane->word, 1);
}

static void ring(struct lane *lane)
{
    uint64_t one = 1;
    int fd;

    if (!atomic_load(&lane->waiting))
        return;
    fd = atomic_load(&lane->wake_fd);
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        /* EAGAIN alone is possible: the counter is full, so the sleeper is awake. */
    }
}

void lane_cancel(struct lane *lane)
{
    atomic_fetch_add(&lane->word, LANE_CANCEL);
    futex_wake(&lane->word, INT_MAX);
    ring(lane);
}

void lane_wake(struct lane *lane)
{
    atomic_fetch_add(&lane->wakes, 1);
    ring(lane);
}

static int open_wake_fd(struct lane *lane)
{
    int fd = atomic_load_explicit(&lane->wake_fd, memory_order_relaxed);

    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    atomic_store(&lane->wake_fd, fd);
    return fd;
}

/* Sleep once. What lane_wait() returns. */
static int sleep_once(struct lane *lane, int fd, int events, int wake_fd, hal_deadline until)
{
    struct pollfd fds[2] = {{.fd = wake_fd, .events = POLLIN}, {.fd = fd, .events = (short)events}};
    uint64_t drained;
    int n;

    if (lane_cancelled(lane))
        return -ECANCELED;
    if (atomic_load(&lane->wakes) != lane->seen)
        return 0;
    n = poll_until(fds, fd >= 0 ? 2 : 1, until);
    if (n < 0)
        return n;
    if (fds[0].revents && read(wake_fd, &drained, sizeof(drained)) < 0) {
        /* Somebody else's ring was drained before: nothing is lost, the counts say what came. */
    }
    if (lane_cancelled(lane))
        return -ECANCELED;
    if (fd >= 0 && fds[1].revents)
        return fds[1].revents;
    return n ? 0 : -ETIMEDOUT;
}

int lane_wait(struct lane *lane, int fd, int events, hal_deadline until)
{
    int wake_fd, result;

    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    wake_fd = open_wake_fd(lane);
    if (wake_fd < 0)
        return wake_fd;
    atomic_store(&lane->waiting, 1);
    result = sleep_once(lane, fd, events, wake_fd, until);
    atomic_store(&lane->waiting, 0);
    lane->seen = atomic_load(&lane->wakes);
    return result;
}
