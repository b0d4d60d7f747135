/* SPDX-License-Identifier: Apache-2.0 */
/* The table of open devices. Slots are never freed, so a stale handle always finds memory to be
 * compared with; the generation in the handle tells whether it is still the same device. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
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
    chunk = calloc(HANDLE_CHUNK, sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    for (uint32_t i = HANDLE_CHUNK; i-- > 0;) {
        chunk[i].index = slot_count + i;
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
    hal_handle handle = (int64_t)dev->generation << HANDLE_INDEX_BITS | dev->index;
    atomic_store_explicit(&dev->handle, handle, memory_order_release);
    return handle;
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

static void before_fork(void)
{
    pthread_mutex_lock(&table_lock);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&table_lock);
}

static void close_inherited(struct hal_device *dev)
{
    if (dev->fd_in >= 0)
        close(dev->fd_in);
    if (dev->fd_out >= 0 && dev->fd_out != dev->fd_in)
        close(dev->fd_out);
    for (size_t i = 0; i < COUNT_OF(dev->lanes); i++)
        lane_fini(&dev->lanes[i]);
}

/* Only functions that are safe in the child of a process with threads (signal-safety(7)). The
 * slots stay taken: their state belongs to threads that are not here. */
static void after_fork_child(void)
{
    uint32_t parent = atomic_fetch_add(&hal_fork_epoch, 1);

    for (uint32_t i = 0; i < slot_count; i++) {
        struct hal_device *dev =
            &atomic_load(&hal_chunks[i >> HANDLE_CHUNK_BITS])[i & (HANDLE_CHUNK - 1)];
        if (atomic_load(&dev->handle) && atomic_load(&dev->fork_epoch) == parent)
            close_inherited(dev);
    }
    pthread_mutex_unlock(&table_lock);
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}
