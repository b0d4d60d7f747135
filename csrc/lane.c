/* SPDX-License-Identifier: Apache-2.0 */
/* One call at a time, in one direction of one device, with a deadline and a cancel for everybody
 * who waits: for the lane itself (futex(2)) or, holding it, for the device (ppoll(2)). */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "futex.h"
#include "internal.h"

/* Without membarrier(2) a sleeper may miss the lane's being left: then it looks this often. */
#define LOOK_AGAIN_NS 1000000

/* The kernel wants to know beforehand who will use the expedited form. Children inherit nothing
 * they could rely on. */
static void register_membarrier(void)
{
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

__attribute__((constructor)) static void use_membarrier(void)
{
    register_membarrier();
    pthread_atfork(NULL, NULL, register_membarrier);
}

/* Make every running thread of the process order its memory accesses around this point. */
static bool fence_all_threads(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void lane_init(struct lane *lane)
{
    /* The cancel count goes on from the slot's last device: who still waits here was told. */
    atomic_store_explicit(&lane->wakes, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->wake_fd, -1, memory_order_relaxed);
    lane->wakes_seen = 0;
}

void lane_fini(struct lane *lane)
{
    int fd = atomic_exchange(&lane->wake_fd, -1);

    if (fd >= 0)
        close(fd);
}

void lane_reset(struct lane *lane)
{
    atomic_store(&lane->held, 0);
    atomic_store(&lane->sleepers, 0);
}

/* Let `count` sleepers look again. */
static void call_sleepers(struct lane *lane, int count)
{
    atomic_fetch_add(&lane->turn, 1);
    futex_wake(&lane->turn, count);
}

void lane_leave_slow(struct lane *lane)
{
    call_sleepers(lane, 1);
}

/* Sleep until `turn` is another than it was, but not so long that a missed change would hurt. */
static int sleep_for_turn(struct lane *lane, uint32_t turn, bool fenced, hal_deadline until)
{
    hal_deadline look = fenced ? until : hal_after(LOOK_AGAIN_NS);
    int err = futex_wait(&lane->turn, turn, look < until ? look : until);

    return err == -EAGAIN || (err == -ETIMEDOUT && look < until) ? 0 : err;
}

/* With a cancel count the sleep ends when it changes; without one, not before the lane is taken. */
static int sleep_for_lane(struct lane *lane, const uint32_t *cancels, hal_deadline until)
{
    bool fenced = fence_all_threads();
    int err = 0;

    while (!err) {
        uint32_t turn = atomic_load(&lane->turn);
        if (cancels && atomic_load(&lane->cancels) != *cancels)
            return -ECANCELED;
        if (lane_try(lane))
            return 0;
        err = sleep_for_turn(lane, turn, fenced, until);
    }
    return err;
}

int lane_enter_slow(struct lane *lane, uint32_t cancels, hal_deadline until)
{
    int err;

    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    atomic_fetch_add(&lane->sleepers, 1);
    err = sleep_for_lane(lane, &cancels, until);
    atomic_fetch_sub(&lane->sleepers, 1);
    if (err)
        call_sleepers(lane, 1); /* the wake that was ours may be another's */
    return err;
}

void lane_enter_forever(struct lane *lane)
{
    if (!lane_try(lane)) {
        atomic_fetch_add(&lane->sleepers, 1);
        while (sleep_for_lane(lane, NULL, HAL_FOREVER)) {
            /* a signal handler ran */
        }
        atomic_fetch_sub(&lane->sleepers, 1);
    }
    lane->cancels_seen = atomic_load(&lane->cancels);
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
    atomic_fetch_add(&lane->cancels, 1);
    if (atomic_load(&lane->sleepers))
        call_sleepers(lane, INT_MAX);
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
    if (atomic_load(&lane->wakes) != lane->wakes_seen)
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

    if (until > lane->until)
        until = lane->until;
    if (until <= HAL_NOWAIT)
        return -EAGAIN;
    wake_fd = open_wake_fd(lane);
    if (wake_fd < 0)
        return wake_fd;
    atomic_store(&lane->waiting, 1);
    result = sleep_once(lane, fd, events, wake_fd, until);
    atomic_store(&lane->waiting, 0);
    lane->wakes_seen = atomic_load(&lane->wakes);
    return result;
}
