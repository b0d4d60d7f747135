/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link that was lost is dialled again by whoever calls next, or was waiting; meanwhile the others
 * wait. The lease goes on, and with it the stream and the numbers of requests: so what had no
 * answer is asked again, and done once (docs/protocol.md, "Resuming").
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <hal/error.h>

#include "remote.h"

#define FIRST_PAUSE 50000000LL /* ns; doubled up to the longest, half of each by chance */
#define LONGEST_PAUSE 2000000000LL

/* ---- one try ----------------------------------------------------------------------------------
 */

/* The old link's lanes: nobody waits in them for this one's answers. */
static void forget_requests(struct remote *remote)
{
    for (int lane = 0; lane < WIRE_LANES; lane++) {
        struct pending *pending = &remote->pending[lane];

        if (pending->answered)
            continue;
        pending->waiting = false;
        pending->given_up = false;
    }
}

static int take_over_lease(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    int err = remote_resume(dev, until);

    if (err != -ENOENT)
        return err;
    err = remote_open_again(dev, until); /* the agent was restarted, or the time was over */
    if (err)
        return err;
    memset(remote->last_ids, 0, sizeof(remote->last_ids));
    remote->lease_anew++;
    remote_stream_gap(remote, 0, true);
    return 0;
}

static int dial(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    int err;

    pthread_mutex_lock(&remote->lock);
    remote_hang_up(remote);
    forget_requests(remote);
    pthread_mutex_unlock(&remote->lock);
    err = remote_connect(dev, remote, until);
    if (err)
        return err;
    pthread_mutex_lock(&remote->lock);
    remote->broken = 0;
    remote->pinged = 0;
    remote->links++;
    pthread_mutex_unlock(&remote->lock);
    err = remote_hello(dev, until);
    if (!err)
        err = take_over_lease(dev, remote, until);
    if (!err && remote->flags & WIRE_STREAM)
        err = remote_stream_begin(dev);
    return err;
}

/* ---- until it works ---------------------------------------------------------------------------
 */

/* What another try may mend: nobody is there yet, or the link broke again. */
static bool may_pass(int err)
{
    return err == -ENOLINK || err == -ECONNREFUSED || err == -ECONNRESET || err == -EPIPE ||
           err == -EHOSTUNREACH || err == -ENETUNREACH || err == -ENETDOWN || err == -ETIMEDOUT ||
           err == -EBUSY || err == -ENOENT;
}

static int rest(struct hal_device *dev, struct remote *remote, int64_t pause, hal_deadline until)
{
    int64_t end = hal_now() + pause / 2 + (int64_t)(rand_r(&remote->chance) % (pause / 2 + 1));
    int err = 0;

    while (!err && hal_now() < end)
        err = hal_device_wait(dev, remote->dialler, -1, 0, end < until ? end : until);
    return err == -ETIMEDOUT && end < until ? 0 : err;
}

static int dial_until(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    hal_deadline limit = remote->lost_at + (int64_t)remote->keep * 1000000000;
    hal_deadline end = until < limit ? until : limit;
    int64_t pause = FIRST_PAUSE;
    int err;

    for (;;) {
        err = dial(dev, remote, end);
        if (!err || !may_pass(err) || hal_now() >= end)
            break;
        pthread_mutex_lock(&remote->lock);
        remote_break(dev, remote, -ENOLINK, "it is being dialled again");
        pthread_mutex_unlock(&remote->lock);
        err = rest(dev, remote, pause, end);
        if (err)
            break;
        pause = pause < LONGEST_PAUSE / 2 ? pause * 2 : LONGEST_PAUSE;
    }
    if (err == -ETIMEDOUT && end == limit)
        return -ENOLINK;
    return err;
}

/* Tried by this thread alone. */
static int dial_alone(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                      hal_deadline until)
{
    char why[sizeof(remote->why)];
    int err;

    remote->dialling = true;
    remote->dialler = remote_lane(remote, lane);
    pthread_mutex_unlock(&remote->lock);
    err = dial_until(dev, remote, until);
    pthread_mutex_lock(&remote->lock);
    remote->dialling = false;
    remote->dialler = HAL_LANE_CONTROL;
    if (!err) {
        remote->reconnects++;
    } else if (err == -ETIMEDOUT || err == -ECANCELED || err == -EINTR || err == -EAGAIN) {
        remote_break(dev, remote, -ENOLINK, "it has not come back yet");
    } else {
        snprintf(why, sizeof(why), "and does not come back within %u s", remote->keep);
        remote->keep = 0; /* for good */
        remote->broken = 0;
        remote_break(dev, remote, -ENOLINK, err == -ENOLINK ? why : hal_last_error());
    }
    remote_wake_all(dev);
    return err;
}

int remote_redial(struct hal_device *dev, enum wire_lane lane, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    int err = 0;

    pthread_mutex_lock(&remote->lock);
    while ((remote->dialling || remote->sending) && !err)
        err = remote_wait(dev, remote, lane, -1, 0, until);
    if (!err && remote->broken) {
        if (remote->broken != -ENOLINK || !remote->keep)
            err = remote_lost(dev, remote);
        else
            err = dial_alone(dev, remote, lane, until);
    }
    pthread_mutex_unlock(&remote->lock);
    return err;
}
