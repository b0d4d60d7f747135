/* SPDX-License-Identifier: Apache-2.0 */
/* futex(2) and ppoll(2) with absolute deadlines. */
#ifndef HAL_FUTEX_H
#define HAL_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <hal/deadline.h>

static inline struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Sleep while *word is `expected`. 0 or -ETIMEDOUT, -EINTR, -EAGAIN (it is not). HAL_FOREVER is
 * given as the time that it is: without a time, SA_RESTART handlers would not end the sleep. */
static inline int futex_wait(_Atomic uint32_t *word, uint32_t expected, hal_deadline until)
{
    struct timespec at = timespec_of(until);
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, &at, NULL,
                      FUTEX_BITSET_MATCH_ANY);

    return rc ? -errno : 0;
}

static inline void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* poll(2) until a deadline: the count, 0 when it passed, or a negative errno. */
static inline int poll_until(struct pollfd *fds, nfds_t count, hal_deadline until)
{
    struct timespec left;
    int n;

    if (until == HAL_FOREVER) {
        n = ppoll(fds, count, NULL, NULL);
    } else {
        int64_t ns = until > 0 ? until - hal_now() : 0;
        left = timespec_of(ns > 0 ? ns : 0);
        n = ppoll(fds, count, &left, NULL);
    }
    return n < 0 ? -errno : n;
}

#endif
