/* SPDX-License-Identifier: Apache-2.0 */
/* The table of open devices. Slots are never freed, so a stale handle always finds memory to be
 * compared with; the generation in the handle tells whether it is still the same device. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "futex.h"
#include "internal.h"

_Atomic(struct hal_device *) hal_chunks[HANDLE_SLOTS / HANDLE_CHUNK];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hal_device *free_list;
static uint32_t slot_count;

_Atomic uint32_t hal_fork_epoch;

/* One chunk more on the free list. Called with table_lock held. */
static int grow(void)
{
    struct hal_device *chunk;

    if (slot_count == HANDLE_SLOTS)
        return hal_fail(-EMFILE, "open", NULL, "%u devices are open", HANDLE_SLOTS);
    chunk = aligned_alloc(LANE_ALIGNMENT, HANDLE_CHUNK * sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    memset(chunk, 0, HANDLE_CHUNK * sizeof(*chunk));
    for (uint32_t i = HANDLE_CHUNK; i-- > 0;) {
        chunk[i].index = slot_count + i;
        chunk[i].fd_in = chunk[i].fd_out = -1;
        for (size_t lane = 0; lane < COUNT_OF(chunk[i].lanes); lane++)
            lane_init(&chunk[i].lanes[lane]);
        pthread_mutex_init(&chunk[i].pollers_lock, NULL);
        chunk[i].next_free = free_list;
        free_list = &chunk[i];
    }
    atomic_store_explicit(&hal_chunks[slot_count >> HANDLE_CHUNK_BITS], chunk,
                          memory_order_release);
    slot_count += HANDLE_CHUNK;
    return 0;
}

int handle_alloc(struct hal_device **out)
{
    struct hal_device *dev;
    int err;

    pthread_mutex_lock(&table_lock);
    err = free_list ? 0 : grow();
    if (!err) {
        dev = free_list;
        free_list = dev->next_free;
        *out = dev;
    }
    pthread_mutex_unlock(&table_lock);
    if (err)
        return err;
    dev->generation++;
    atomic_store_explicit(&dev->fork_epoch, atomic_load(&hal_fork_epoch), memory_order_relaxed);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_init(&dev->lanes[i]);
    dev->fd_in = dev->fd_out = dev->plain_in = dev->plain_out = -1;
    return 0;
}

hal_handle handle_publish(struct hal_device *dev)
{
    hal_handle handle = (hal_handle)(dev->generation << HANDLE_INDEX_BITS | dev->index);
    atomic_store_explicit(&dev->handle, handle, memory_order_release);
    return handle;
}

void handle_set_fds(struct hal_device *dev, int fd_in, int fd_out)
{
    pthread_mutex_lock(&table_lock);
    dev->fd_in = fd_in;
    dev->fd_out = fd_out;
    pthread_mutex_unlock(&table_lock);
}

void handle_free(struct hal_device *dev)
{
    pthread_mutex_lock(&table_lock);
    dev->next_free = free_list;
    free_list = dev;
    pthread_mutex_unlock(&table_lock);
}

int handle_refuse(hal_handle handle, const char *operation)
{
    struct hal_device *dev = handle_slot(handle);

    uint32_t mark = error_begin();
    int err;

    if (dev && atomic_load(&dev->handle) == handle &&
        atomic_load(&dev->fork_epoch) != atomic_load(&hal_fork_epoch))
        err = hal_fail(-ESTALE, operation, dev->uri,
                       "a handle does not survive fork; open the device again in this process");
    else if (handle <= 0)
        err = hal_fail_plain(-EBADF, operation, NULL, "%lld is no handle", (long long)handle);
    else
        err = hal_fail(-EBADF, operation, NULL, "handle %lld", (long long)handle);
    return error_end(mark, err, operation, NULL);
}

int device_refuse(hal_handle handle, int err, const char *operation)
{
    struct hal_device *dev;

    if (err == -EAGAIN)
        return err;
    if (device_guest(handle, operation, &dev))
        return error_end(error_begin(), err, operation, NULL); /* it was closed meanwhile */
    error_end(error_begin(), err, operation, dev->uri);
    device_unguest(dev);
    return err;
}

int device_guest(hal_handle handle, const char *operation, struct hal_device **out)
{
    struct hal_device *dev = *out = handle_slot(handle);

    if (!dev || atomic_load(&dev->fork_epoch) != atomic_load(&hal_fork_epoch))
        return handle_refuse(handle, operation);
    atomic_fetch_add(&dev->guests, 1);
    if (atomic_load(&dev->handle) != handle) {
        device_unguest(dev);
        return handle_refuse(handle, operation);
    }
    return 0;
}

void device_unguest(struct hal_device *dev)
{
    if (atomic_fetch_sub(&dev->guests, 1) == 1 && !atomic_load(&dev->handle))
        futex_wake(&dev->guests, INT_MAX);
}

void device_await_guests(struct hal_device *dev)
{
    uint32_t guests;

    while ((guests = atomic_load(&dev->guests)))
        futex_wait(&dev->guests, guests, HAL_FOREVER);
}

/* ---- fork(2) -------------------------------------------------------------------------------- */

/* No thread may be inside a lock while the process is copied: it would never leave it in the child.
 * The order is that in which the library itself takes them. */
static void before_fork(void)
{
    plugin_before_fork();
    registry_before_fork();
    pthread_mutex_lock(&table_lock);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&table_lock);
    registry_after_fork();
    plugin_after_fork(false);
}

/* The child has a copy of every descriptor, also of a device that is just being opened or closed
 * (then it is not published), and of the counts of a driver's devices. */
static void disown(struct hal_device *dev)
{
    if (dev->fd_in >= 0)
        close(dev->fd_in);
    if (dev->fd_out >= 0 && dev->fd_out != dev->fd_in)
        close(dev->fd_out);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_fini(&dev->lanes[i]);
    if (atomic_load(&dev->handle))
        driver_put(dev->driver);
}

/* A thread with a stale handle may have been looking into a slot that is free. */
static void sweep(struct hal_device *dev)
{
    atomic_store(&dev->guests, 0);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_reset(&dev->lanes[i]);
}

/* Only functions that are safe in the child of a process with threads (signal-safety(7)). Slots of
 * devices stay taken: their state belongs to threads that are not here. */
static void after_fork_child(void)
{
    uint32_t parent = atomic_fetch_add(&hal_fork_epoch, 1);

    for (uint32_t i = 0; i < slot_count; i++) {
        struct hal_device *dev =
            &atomic_load(&hal_chunks[i >> HANDLE_CHUNK_BITS])[i & (HANDLE_CHUNK - 1)];
        if (atomic_load(&dev->fork_epoch) == parent)
            disown(dev);
    }
    for (struct hal_device *dev = free_list; dev; dev = dev->next_free)
        sweep(dev);
    pthread_mutex_unlock(&table_lock);
    registry_after_fork();
    plugin_after_fork(true);
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}
