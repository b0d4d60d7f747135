/* SPDX-License-Identifier: Apache-2.0 */
/* hal_poll(): readiness without a lane, so that it runs beside readers and writers. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "futex.h"
#include "internal.h"

/* Who sleeps in hal_poll(); lives on that thread's stack. */
struct poller {
    int wake_fd;
    struct poller *next;
};

static void ring_pollers(struct hal_device *dev)
{
    uint64_t one = 1;

    pthread_mutex_lock(&dev->pollers_lock);
    for (struct poller *p = dev->pollers; p; p = p->next)
        if (write(p->wake_fd, &one, sizeof(one)) < 0)
            continue; /* the counter is full: it is awake */
    pthread_mutex_unlock(&dev->pollers_lock);
}

void pollers_wake(struct hal_device *dev)
{
    if (atomic_load(&dev->poller_count))
        ring_pollers(dev);
}

void pollers_cancel(struct hal_device *dev)
{
    atomic_fetch_add(&dev->poll_cancels, 1);
    pollers_wake(dev);
}

static void link_poller(struct hal_device *dev, struct poller *self)
{
    pthread_mutex_lock(&dev->pollers_lock);
    self->next = dev->pollers;
    dev->pollers = self;
    pthread_mutex_unlock(&dev->pollers_lock);
    atomic_fetch_add(&dev->poller_count, 1);
}

static void unlink_poller(struct hal_device *dev, struct poller *self)
{
    struct poller **at;

    atomic_fetch_sub(&dev->poller_count, 1);
    pthread_mutex_lock(&dev->pollers_lock);
    for (at = &dev->pollers; *at != self; at = &(*at)->next)
        ;
    *at = self->next;
    pthread_mutex_unlock(&dev->pollers_lock);
}

/* Wait on the device's descriptors and the poller's own, once. The events, 0 for none yet. */
static int poll_descriptors(struct hal_device *dev, int events, int wake_fd, hal_deadline until)
{
    struct pollfd fds[3] = {
        {.fd = events & POLLIN ? dev->fd_in : -1, .events = POLLIN},
        {.fd = events & POLLOUT ? dev->fd_out : -1, .events = POLLOUT},
        {.fd = wake_fd, .events = POLLIN},
    };
    uint64_t drained;
    int n = poll_until(fds, 3, until);

    if (n <= 0)
        return n ? n : -ETIMEDOUT;
    if (fds[2].revents && read(wake_fd, &drained, sizeof(drained)) < 0)
        return -errno;
    return fds[0].revents | fds[1].revents;
}

/* Can the descriptors tell? Otherwise the driver is asked. */
static bool by_descriptors(const struct hal_device *dev, int events)
{
    return !(events & POLLIN && dev->fd_in < 0) && !(events & POLLOUT && dev->fd_out < 0);
}

/* What is true now, without waiting; 0 for nothing. */
static int ready_now(struct hal_device *dev, int events)
{
    int ready = (events & POLLIN) && buffer_pending(dev) ? POLLIN : 0;
    int more;

    if (by_descriptors(dev, events))
        more = poll_descriptors(dev, events, -1, HAL_NOWAIT);
    else
        more = dev->ops.poll(dev, events);
    if (more == -ETIMEDOUT)
        more = 0;
    return more < 0 && !ready ? more : (more > 0 ? ready | more : ready);
}

static int sleep_until_ready(struct hal_device *dev, int events, uint32_t cancels,
                             struct poller *self, hal_deadline until)
{
    int ready;

    for (;;) {
        /* hal_close() may have cancelled before this call counted: then the handle is gone. */
        if (atomic_load(&dev->poll_cancels) != cancels || !atomic_load(&dev->handle))
            return -ECANCELED;
        ready = ready_now(dev, events);
        if (ready)
            return ready;
        ready =
            poll_descriptors(dev, by_descriptors(dev, events) ? events : 0, self->wake_fd, until);
        if (ready)
            return ready;
    }
}

static int poll_device(struct hal_device *dev, int events, hal_deadline until)
{
    struct poller self = {.wake_fd = -1};
    uint32_t cancels = atomic_load(&dev->poll_cancels);
    int ready;

    if (!events || events & ~(POLLIN | POLLOUT))
        return hal_fail(-EINVAL, "poll", dev->uri, "events are POLLIN, POLLOUT or both");
    if (!dev->ops.poll && !by_descriptors(dev, events))
        return hal_fail(-EOPNOTSUPP, "poll", dev->uri,
                        "driver \"%s\" offers neither a descriptor nor readiness",
                        dev->driver->name);
    ready = ready_now(dev, events);
    if (ready || until <= HAL_NOWAIT)
        return ready ? ready : -EAGAIN;
    self.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (self.wake_fd < 0)
        return -errno;
    link_poller(dev, &self);
    ready = sleep_until_ready(dev, events, cancels, &self, until);
    unlink_poller(dev, &self);
    close(self.wake_fd);
    return ready;
}

int hal_poll(hal_handle handle, int events, hal_deadline until)
{
    uint32_t mark = error_begin();
    struct hal_device *dev;
    int ready = device_guest(handle, "poll", &dev);

    if (ready)
        return ready;
    ready = poll_device(dev, events, until);
    if (ready < 0)
        error_end(mark, ready, "poll", dev->uri);
    device_unguest(dev);
    return ready;
}
