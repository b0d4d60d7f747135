/* SPDX-License-Identifier: Apache-2.0 */
/* The set of devices, followed. Events only say that it is time to look again. */
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <hal/driver.h>

#include "internal.h"

#define WATCH "watch devices"
#define GROUPS (1 | 2)   /* the kernel's messages, and udevd's when it is done with a device */
#define MESSAGE_MAX 8192 /* a uevent has 2 KiB at most, udevd's copy of it some more */
#define QUEUE_SIZE (128 << 10) /* bytes; what does not fit is lost, which does no harm */

struct hal_discovery {
    struct query query;
    int fd;
    bool news; /* to be looked at */
    uint64_t generation;
    struct look shown;
};

static int open_socket(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    int size = QUEUE_SIZE;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int hal_discover_open(const char *query, struct hal_discovery **out)
{
    struct hal_discovery *watch;
    int err;

    if (!out)
        return hal_fail(-EFAULT, WATCH, NULL, NULL);
    *out = NULL;
    watch = calloc(1, sizeof(*watch));
    if (!watch)
        return hal_fail(-ENOMEM, WATCH, NULL, NULL);
    err = query_parse(query, &watch->query);
    if (err)
        goto free_watch;
    watch->fd = open_socket();
    if (watch->fd < 0) {
        err = hal_fail(watch->fd, WATCH, NULL, "netlink(7): uevents");
        goto free_watch;
    }
    watch->news = true;
    *out = watch;
    return 0;

free_watch:
    free(watch);
    return err;
}

int hal_discover_fd(const struct hal_discovery *watch)
{
    return watch ? watch->fd : hal_fail(-EFAULT, WATCH, NULL, NULL);
}

void hal_discover_close(struct hal_discovery *watch)
{
    if (!watch)
        return;
    close(watch->fd);
    look_free(&watch->shown);
    free(watch);
}

/* Take in all that has come. Whatever goes wrong, ENOBUFS first of all, means: look again. */
static void drain(struct hal_discovery *watch)
{
    char message[MESSAGE_MAX];

    while (true) {
        ssize_t len = recv(watch->fd, message, sizeof(message), MSG_TRUNC);
        if (len < 0 && errno == EAGAIN)
            return;
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0 && errno != ENOBUFS) {
            watch->news = true;
            return;
        }
        if (len < 0 || (size_t)len > sizeof(message) || uevent_concerns(message, (size_t)len))
            watch->news = true;
    }
}

/* ---- the difference ------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    const struct hal_discovered *const *first = a, *const *second = b;

    return strcmp((*first)->id, (*second)->id);
}

static struct hal_discovered **by_id(struct look *look)
{
    struct hal_discovered **index = calloc(look->count + 1, sizeof(struct hal_discovered *));

    for (size_t i = 0; index && i < look->count; i++)
        index[i] = &look->devices[i];
    if (index)
        qsort(index, look->count, sizeof(struct hal_discovered *), compare_ids);
    return index;
}

static bool same(const struct hal_discovered *a, const struct hal_discovered *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->vendor, b->vendor) &&
           !strcmp(a->model, b->model) && !strcmp(a->serial, b->serial) &&
           !strcmp(a->uri, b->uri) && !strcmp(a->why, b->why) && a->score == b->score &&
           !strcmp(a->node, b->node) && !strcmp(a->state, b->state) && !strcmp(a->path, b->path);
}

/* Note in each device how it stands to the other set; is there any difference? -ENOMEM. */
static int difference(struct look *old, struct look *now)
{
    struct hal_discovered **a = by_id(old), **b = by_id(now);
    size_t i = 0, j = 0;
    int differs = 0;

    if (!a || !b)
        differs = -ENOMEM;
    while (differs >= 0 && (i < old->count || j < now->count)) {
        int order = i == old->count ? 1 : j == now->count ? -1 : strcmp(a[i]->id, b[j]->id);
        enum hal_discover_change change = order < 0          ? HAL_DISCOVER_GONE
                                          : order > 0        ? HAL_DISCOVER_ADDED
                                          : same(a[i], b[j]) ? HAL_DISCOVER_SAME
                                                             : HAL_DISCOVER_CHANGED;
        if (order <= 0)
            a[i++]->change = change;
        if (order >= 0)
            b[j++]->change = change;
        differs |= change != HAL_DISCOVER_SAME;
    }
    free(a);
    free(b);
    return differs;
}

static int show(struct look *old, struct look *now, hal_discover_visitor visit, void *arg)
{
    int result = 0;

    for (size_t i = 0; i < now->count && !result; i++)
        result = visit(&now->devices[i], arg);
    for (size_t i = 0; i < old->count && !result; i++)
        if (old->devices[i].change == HAL_DISCOVER_GONE)
            result = visit(&old->devices[i], arg);
    return result;
}

/* Look again. 1: a set that differs was shown, and *result is the visitor's; 0: none; or why not.
 */
static int look_again(struct hal_discovery *watch, hal_discover_visitor visit, void *arg,
                      int *result)
{
    struct look old = watch->shown, now;
    int differs = look_take(&now, "/", &watch->query);

    if (differs < 0)
        return differs;
    differs = difference(&old, &now);
    if (differs < 0 || (!differs && watch->generation)) {
        look_free(&now);
        watch->news = differs < 0;
        return differs;
    }
    watch->news = false;
    watch->generation++;
    watch->shown = now;
    *result = visit ? show(&old, &now, visit, arg) : 0;
    look_free(&old);
    return 1;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static int wait_news(const struct hal_discovery *watch, hal_deadline until)
{
    struct pollfd poll_fd = {.fd = watch->fd, .events = POLLIN};
    struct timespec left = {0}, *timeout = &left;
    int count;

    if (until == HAL_FOREVER) {
        timeout = NULL;
    } else {
        int64_t ns = until - hal_now();
        if (ns > 0)
            left = (struct timespec){ns / 1000000000, ns % 1000000000};
    }
    count = ppoll(&poll_fd, 1, timeout, NULL);
    if (count < 0)
        return -errno;
    return count ? 0 : until <= HAL_NOWAIT ? -EAGAIN : -ETIMEDOUT;
}

int hal_discover_next(struct hal_discovery *watch, uint64_t *generation, hal_discover_visitor visit,
                      void *arg, hal_deadline until)
{
    int result = 0, err;

    if (!watch)
        return hal_fail(-EFAULT, WATCH, NULL, NULL);
    while (true) {
        drain(watch); /* before the look: what happens from now on makes an event that stays */
        err = watch->news ? look_again(watch, visit, arg, &result) : 0;
        if (!err)
            err = wait_news(watch, until);
        if (err == -EAGAIN)
            return err;
        if (err < 0)
            return hal_fail(err, WATCH, NULL, NULL);
        if (err > 0)
            break;
    }
    if (generation)
        *generation = watch->generation;
    return result;
}
