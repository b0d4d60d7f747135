/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of libhal share; nothing here is exported. */
#ifndef HAL_INTERNAL_H
#define HAL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/hal.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- error.c ---- */

/* Counts the failures that this thread has worded. */
extern _Thread_local uint32_t hal_error_serial __attribute__((tls_model("initial-exec")));

/* The first act of a public function: what is worded later was worded inside it. */
static inline uint32_t error_begin(void)
{
    return hal_error_serial;
}

/* The last act of a public function that fails: keep what hal_fail() said for the same errno since
 * `mark`, else word it plainly. Returns err. Functions inside the library do not end. */
int error_end(uint32_t mark, int err, const char *operation, const char *object);
/* Was err worded since then? */
bool error_worded(uint32_t mark, int err);
/* error_end() for what has just been worded. */
int error_settle(int err, const char *operation, const char *object);

/* ---- name.c ---- */

#define NAME_FORM "a name is a letter or digit, then letters, digits, '_', '-' or '.'"

/* 0, -EFAULT, -ENOENT (empty), -ENAMETOOLONG, -EINVAL. Sets no message. */
int name_check(const char *name);
const char *name_complaint(int err);
/* The candidate that a typing mistake may have been meant for, NULL when none is near. */
const char *name_nearest(const char *name, const char *const *candidates, size_t count);

/* ---- uri.c ---- */

int uri_parse(const char *text, struct hal_uri *out); /* hal_uri_parse() for use inside a call */

/* ---- lane.c: one call at a time, in one direction of one device ---- */

/* Who finds the lane free takes it by one compare-and-swap and leaves it by a plain store. The rest
 * is for those who do not: they count themselves in `sleepers`, make every other thread of the
 * process see that with membarrier(2), and sleep on `turn` (futex(2)). So the price of a full fence
 * is paid by the thread that has to wait anyway, never by the one that leaves. Each lane has a
 * cache line of its own, so that a reader does not slow down a writer. */
#define LANE_ALIGNMENT 64

struct lane {
    _Alignas(LANE_ALIGNMENT) _Atomic uint32_t held;
    _Atomic uint32_t sleepers; /* threads in lane_enter_slow() */
    _Atomic uint32_t turn;     /* changes when they should look again */
    _Atomic uint32_t cancels;
    uint32_t cancels_seen;    /* when the call that holds the lane began */
    uint32_t error_mark;      /* likewise: error_begin() */
    hal_deadline until;       /* of that call: nothing in it waits longer */
    _Atomic uint32_t wakes;   /* counts hal_device_wake() */
    uint32_t wakes_seen;      /* when the driver last looked */
    _Atomic uint32_t waiting; /* the holder sleeps on wake_fd, or is about to */
    _Atomic int wake_fd;      /* eventfd, made when first needed; -1 */
};

void lane_init(struct lane *lane);
void lane_fini(struct lane *lane);
/* In a forked child: nobody is in it any more. */
void lane_reset(struct lane *lane);
int lane_enter_slow(struct lane *lane, uint32_t cancels, hal_deadline until);
void lane_enter_forever(struct lane *lane);
void lane_leave_slow(struct lane *lane);
void lane_cancel(struct lane *lane);
void lane_wake(struct lane *lane);
/* As hal_device_wait(), by the holder of the lane. */
int lane_wait(struct lane *lane, int fd, int events, hal_deadline until);

static inline bool lane_try(struct lane *lane)
{
    uint32_t nobody = 0;

    return atomic_compare_exchange_strong_explicit(&lane->held, &nobody, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline int lane_enter(struct lane *lane, hal_deadline until)
{
    uint32_t cancels = atomic_load_explicit(&lane->cancels, memory_order_acquire);

    if (UNLIKELY(!lane_try(lane))) {
        int err = lane_enter_slow(lane, cancels, until);
        if (err)
            return err;
    }
    lane->cancels_seen = cancels;
    return 0;
}

static inline void lane_leave(struct lane *lane)
{
    atomic_store_explicit(&lane->held, 0, memory_order_release);
    /* The compiler keeps the order; that the processor does is the sleepers' membarrier(2). */
    atomic_signal_fence(memory_order_seq_cst);
    if (UNLIKELY(atomic_load_explicit(&lane->sleepers, memory_order_relaxed)))
        lane_leave_slow(lane);
}

/* What the holder notes before anything but plain read(2) and write(2) is done. */
static inline void lane_begin(struct lane *lane, hal_deadline until)
{
    lane->error_mark = error_begin();
    lane->until = until;
}

static inline bool lane_cancelled(struct lane *lane)
{
    /* Sequentially consistent: a sleeper stores `waiting` before it looks here (see ring()). */
    return atomic_load(&lane->cancels) != lane->cancels_seen;
}

/* ---- registry.c, plugin.c ---- */

/* What a visitor adds to driver.refs, where an open device adds 1. */
#define DRIVER_VISIT ((int64_t)1 << 32)

struct driver {
    char name[HAL_NAME_MAX + 1]; /* never changes: entries are reused for the same name only */
    _Atomic int64_t refs;        /* open devices and DRIVER_VISIT's; -1: not registered */
    struct driver_ops ops;       /* zero-filled behind what the driver knew */
    const char *path;            /* of the plug-in, else NULL; lives for ever */
    const char *version;
    struct driver *next;
};

/* The driver of that name with a reference taken, NULL when it is not registered. No lock. */
struct driver *driver_get(const char *name);
/* The same, loading the plug-in if need be. Negative errno with message. */
int driver_find(const char *name, const char *uri, struct driver **out);
void driver_put(struct driver *driver);
struct driver *driver_first(void);
bool driver_is_registered(const char *name);
/* Is the driver of that name registered, and from this very file? */
bool driver_is_from(const char *name, const char *path);
/* How often this thread has registered a driver. */
unsigned driver_registrations(void);
int driver_register(const char *name, const struct driver_ops *ops, size_t size, uint32_t abi,
                    const char *path, const char *version);
/* Load NAME.so from the search path: 0, -ENOENT when there is none (no message), or why not. */
int plugin_load(const char *name);
int plugin_each_unloaded(hal_driver_visitor visit, void *arg);
/* The folders that are searched, as text for messages. */
void plugin_path_text(char *out, size_t size);
/* Take all locks of the file, and give them back. */
void registry_before_fork(void);
void registry_after_fork(void);
void plugin_before_fork(void);
void plugin_after_fork(bool in_child);
/* URI of a logical name: copies it and returns true. */
bool binding_get(const char *name, char uri[HAL_URI_MAX + 1]);

/* ---- handle.c: the table of open devices ---- */

struct poller;

/* Members stand by who touches them when, and lanes on cache lines of their own.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct hal_device {
    _Atomic int64_t handle; /* 0: free, or being opened or closed */
    _Atomic uint32_t fork_epoch;
    int fd_in, fd_out;
    int plain_in, plain_out; /* the same where the driver has HAL_DRIVER_PLAIN_IO, else -1 */
    struct driver *driver;
    void *state;
    struct driver_ops ops; /* a copy: one cache line less to touch on the way to the driver */
    struct lane lanes[3];

    /* Read buffer; touched by the holder of the read lane only, but for the atomics. */
    uint8_t *buffer;
    _Atomic size_t buffer_size;
    size_t buffer_start;
    _Atomic size_t buffered;
    _Atomic uint32_t drop; /* what is buffered is to be forgotten */

    /* Calls that take no lane, and those of them that sleep (poll.c). */
    _Atomic uint32_t guests;
    _Atomic uint32_t poll_cancels;
    _Atomic uint32_t poller_count;
    pthread_mutex_t pollers_lock;
    struct poller *pollers;

    char *uri;             /* resolved */
    const char *served_by; /* NULL: by `driver` itself */
    char *address;
    struct hal_uri *parsed;                 /* while init runs */
    const struct hal_attribute *attributes; /* of this device alone */
    size_t attribute_count;
    hal_deadline open_deadline;

    uint32_t index;
    uint64_t generation; /* 47 bits of it are in the handle: never again the same */
    struct hal_device *next_free;
};

extern _Atomic uint32_t hal_fork_epoch;

int handle_alloc(struct hal_device **out);
hal_handle handle_publish(struct hal_device *dev);
/* Never half done in a child that is forked meanwhile. */
void handle_set_fds(struct hal_device *dev, int fd_in, int fd_out);
void handle_free(struct hal_device *dev);
#define HANDLE_INDEX_BITS 16
#define HANDLE_CHUNK_BITS 3
#define HANDLE_SLOTS (1u << HANDLE_INDEX_BITS)
#define HANDLE_CHUNK (1u << HANDLE_CHUNK_BITS)

extern _Atomic(struct hal_device *) hal_chunks[HANDLE_SLOTS / HANDLE_CHUNK];

/* The slot a handle names, NULL when it can name none. What it holds may be another device. */
static inline struct hal_device *handle_slot(hal_handle handle)
{
    uint32_t index = (uint32_t)handle & (HANDLE_SLOTS - 1);
    struct hal_device *chunk;

    if (UNLIKELY(handle <= 0))
        return NULL;
    chunk = atomic_load_explicit(&hal_chunks[index >> HANDLE_CHUNK_BITS], memory_order_acquire);
    return LIKELY(chunk != NULL) ? &chunk[index & (HANDLE_CHUNK - 1)] : NULL;
}

/* Why a handle does not fit its slot: -EBADF or -ESTALE, with message. */
int handle_refuse(hal_handle handle, const char *operation);

/* A call that did not get its lane: err, naming the device. */
int device_refuse(hal_handle handle, int err, const char *operation);

/* Enter a lane if that takes no wait; NULL, with no message, when anything is in the way. */
static inline struct hal_device *device_try_enter(hal_handle handle, enum hal_lane which)
{
    struct hal_device *dev = handle_slot(handle);

    if (UNLIKELY(!dev || atomic_load_explicit(&dev->fork_epoch, memory_order_relaxed) !=
                             atomic_load_explicit(&hal_fork_epoch, memory_order_relaxed)))
        return NULL;
    if (UNLIKELY(lane_enter(&dev->lanes[which], HAL_NOWAIT)))
        return NULL;
    if (LIKELY(atomic_load_explicit(&dev->handle, memory_order_relaxed) == handle))
        return dev;
    lane_leave(&dev->lanes[which]);
    return NULL;
}

/* Enter one lane of an open device; on success the caller leaves it by lane_leave(). */
static inline int device_enter(hal_handle handle, enum hal_lane which, const char *operation,
                               hal_deadline until, struct hal_device **out)
{
    struct hal_device *dev = *out = handle_slot(handle);
    int err;

    if (UNLIKELY(!dev || atomic_load_explicit(&dev->fork_epoch, memory_order_relaxed) !=
                             atomic_load_explicit(&hal_fork_epoch, memory_order_relaxed)))
        return handle_refuse(handle, operation);
    /* Before as well as after: a stale handle must not wait for, or share the fate of, whoever is
     * in its place now. */
    if (UNLIKELY(atomic_load_explicit(&dev->handle, memory_order_relaxed) != handle))
        return handle_refuse(handle, operation);
    err = lane_enter(&dev->lanes[which], until);
    if (UNLIKELY(err))
        return device_refuse(handle, err, operation);
    if (UNLIKELY(atomic_load_explicit(&dev->handle, memory_order_relaxed) != handle)) {
        lane_leave(&dev->lanes[which]);
        return handle_refuse(handle, operation);
    }
    lane_begin(&dev->lanes[which], until);
    return 0;
}

/* Take part without a lane; hal_close() waits for device_unguest(). */
int device_guest(hal_handle handle, const char *operation, struct hal_device **out);
void device_unguest(struct hal_device *dev);
void device_await_guests(struct hal_device *dev);

/* ---- poll.c ---- */

void pollers_wake(struct hal_device *dev);
void pollers_cancel(struct hal_device *dev);

/* ---- device.c ---- */

/* The driver's read or write, again and again until it does something or the wait ends. */
ssize_t device_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until);
ssize_t device_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until);
/* Wake all who wait in the device. */
void device_cancel(struct hal_device *dev);
/* Leave the lane with a result; a failure is worded first. */
ssize_t device_leave(struct hal_device *dev, enum hal_lane which, const char *operation,
                     ssize_t result);
/* The two halves of a call in the control lane: its checks, and what the driver does. */
int device_check_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count);
ssize_t device_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until);
/* What the driver returned, unless it cannot be. */
ssize_t device_transferred(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                           ssize_t n);
int device_check_control(struct hal_device *dev, const void *arg, size_t size);
long device_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                    hal_deadline until);

/* ---- memory.c ---- */

/* Checks; what the driver does is its `load` and `store`. */
int memory_check_load(struct hal_device *dev, uint64_t offset, unsigned width,
                      const uint64_t *value);
int memory_check_store(struct hal_device *dev, uint64_t offset, unsigned width);

/* ---- buffer.c ---- */

/* Bytes that a read gets without a system call. */
size_t buffer_pending(const struct hal_device *dev);
/* Bytes that are allocated for it. */
size_t buffer_size(const struct hal_device *dev);
/* Move up to len buffered bytes to buf. */
size_t buffer_take(struct hal_device *dev, void *buf, size_t len);
void buffer_release(struct hal_device *dev);

/* ---- attribute.c ---- */

const struct hal_attribute *attribute_find(const struct hal_device *dev, const char *name);
int attribute_check_options(const struct hal_device *dev);
int attribute_apply_options(struct hal_device *dev);
/* The two halves of hal_get() and hal_set(): checks, which find the row (and convert the value to
 * set, or prepare the one to fill in), and what the driver does. */
int attribute_check_get(struct hal_device *dev, const char *name, struct hal_value *out,
                        const struct hal_attribute **row);
int attribute_call_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out);
int attribute_check_set(struct hal_device *dev, const char *name, const struct hal_value *in,
                        const struct hal_attribute **row, struct hal_value *out);
int attribute_call_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value);
/* Is a table well-formed? -EINVAL with message, for the operation on the object, if not. */
int attribute_check_table(const struct hal_attribute *table, size_t count, const char *operation,
                          const char *object);

/* ---- match.c ---- */

/* Is a table well-formed? -EINVAL with message, for the operation on the object, if not. */
int match_check_table(const struct hal_match *table, size_t count, const char *operation,
                      const char *object);

/* ---- value.c ---- */

/* hal_value_parse() for use inside a call. */
int value_parse(const struct hal_attribute *attr, const char *text, struct hal_value *out);
/* A value of another type as one of the attribute's, checked. */
int value_convert(const struct hal_attribute *attr, const struct hal_value *in,
                  struct hal_value *out);

#endif
