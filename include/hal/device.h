/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/device.h
 * @brief Open a device, move bytes, wait, cancel, close.
 *
 * ## Handles
 * A handle is a positive number with a generation inside, never reused: a handle that was closed,
 * closed twice, or made up gives -EBADF, and one inherited through fork(2) gives -ESTALE (a child
 * opens its devices anew; the library closes the inherited descriptors there). Handles need no
 * freeing of their own; a handle belongs to whoever opened it, until hal_close().
 *
 * ## Threads
 * Any function here may be called from any thread. A device has three lanes - reading, writing,
 * control - and each lane serves one call at a time: two threads may read and write one device at
 * once, and two readers take turns (the second waits, within its own deadline). hal_cancel() and
 * hal_close() may be called at any time, and wake whoever waits. No function may be called from a
 * signal handler, and a thread inside one must not be ended by pthread_cancel(3): use hal_cancel().
 *
 * ## Time
 * Every call that can wait takes a deadline (hal/deadline.h). A wait ends within 50 ms of
 * hal_cancel(), of hal_close(), of the device's unplugging and of the loss of a remote peer. A
 * signal handler that runs during a wait ends it with -EINTR; nothing is lost, call again.
 *
 * ## Buffering
 * hal_read_until() reads ahead, one system call a chunk. What it read beyond the delimiter, and
 * what hal_read_exact() or it had read before a deadline passed, stays in the device and is what
 * every later read returns first: no byte is lost or reordered. Before its first use a device
 * holds no buffer.
 */
#ifndef HAL_DEVICE_H
#define HAL_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <hal/deadline.h>
#include <hal/export.h>
#include <hal/uri.h>

HAL_BEGIN_DECLS

/** An open device; always positive. See "Handles" above. */
typedef int64_t hal_handle;

/** Most segments in one hal_transfer(), most buffers in one hal_readv() or hal_writev(). */
#define HAL_SEGMENTS_MAX 1024
/** Most bytes that one call reads or writes; a longer request is served up to this. */
#define HAL_LENGTH_MAX ((size_t)0x7ffff000)
/** Longest delimiter of hal_read_until(). */
#define HAL_DELIMITER_MAX 16

/**
 * @brief Open a device.
 * @param uri    "driver:address?key=value", or a logical name (hal/registry.h). A plug-in driver
 *               is loaded when its scheme is met first.
 * @param until  Bounds the opening of slow and remote devices.
 * @return A handle, or a negative errno: -ENOENT (no such driver, name or device), -EACCES, -EBUSY
 *         (with the holder's pid and name where /proc shows it), -EINVAL and -ERANGE (options),
 *         -EPROTONOSUPPORT (plug-in of another ABI), -EMFILE, -ENOMEM, or what the driver says.
 *         The caller owns the handle and closes it with hal_close().
 */
HAL_API HAL_MUST_CHECK hal_handle hal_open(const char *uri, hal_deadline until);

/**
 * @brief Close a device.
 *
 * Calls that wait in other threads end with -ECANCELED; hal_close() returns once they have left
 * and the driver has let go. Must not be called from inside a driver of the same device.
 * @return 0, -EBADF (also the second time), -ESTALE.
 */
HAL_API int hal_close(hal_handle dev);

/**
 * @brief Read what is there, at least one byte.
 * @param dev    The device.
 * @param buf    Room for @p len bytes; it stays the caller's.
 * @param len    0 only checks the handle.
 * @param until  When to give up.
 * @return Bytes read, 1 .. len; 0 when @p len is 0 or the device has come to its end;
 *         -ETIMEDOUT (-EAGAIN with HAL_NOWAIT), -ECANCELED, -ENODEV (unplugged), -EINTR, -EBADF,
 *         -ESTALE, -EFAULT, or what the driver says.
 *
 * One system call when something is there and the driver stands on a descriptor.
 */
HAL_API ssize_t hal_read(hal_handle dev, void *buf, size_t len, hal_deadline until);

/**
 * @brief Write all of it.
 * @return @p len; fewer when the deadline, a cancel, a signal or an error came after a part was
 *         taken (the next call then returns the error if it persists); else a negative errno as
 *         for hal_read(). "Written" means the driver has it, not that it has left the machine.
 */
HAL_API ssize_t hal_write(hal_handle dev, const void *buf, size_t len, hal_deadline until);

/**
 * @brief Read exactly @p len bytes.
 * @return @p len, or a negative errno; what had come stays in the device for the next read.
 *         -ENODATA when the device came to its end before.
 */
HAL_API ssize_t hal_read_exact(hal_handle dev, void *buf, size_t len, hal_deadline until);

/**
 * @brief Read up to and with a delimiter.
 * @param dev        The device.
 * @param buf        Room for @p size bytes. No NUL is added.
 * @param size       The longest line taken.
 * @param delimiter  Its bytes, e.g. "\n".
 * @param length     How many, 1 .. HAL_DELIMITER_MAX.
 * @param until      When to give up.
 * @return The line's length, delimiter included; -EMSGSIZE when @p size bytes hold no delimiter
 *         (they stay in the device), -ENODATA at the end of the device, else as hal_read(); on any
 *         error what had come stays in the device.
 */
HAL_API ssize_t hal_read_until(hal_handle dev, void *buf, size_t size, const void *delimiter,
                               size_t length, hal_deadline until);

/** @brief hal_read() into several buffers, filled in order. @p count <= HAL_SEGMENTS_MAX. */
HAL_API ssize_t hal_readv(hal_handle dev, const struct iovec *iov, size_t count,
                          hal_deadline until);

/** @brief hal_write() from several buffers, as if they were one. @p count <= HAL_SEGMENTS_MAX. */
HAL_API ssize_t hal_writev(hal_handle dev, const struct iovec *iov, size_t count,
                           hal_deadline until);

/** What a segment of hal_transfer() does besides moving bytes. */
enum hal_segment_flag {
    HAL_SEGMENT_CS_CHANGE = 1, /**< SPI: release chip select after this segment */
    HAL_SEGMENT_NO_START = 2,  /**< I2C: no repeated start before this segment */
    HAL_SEGMENT_IGNORE_NAK = 4 /**< I2C: go on when the target does not acknowledge */
};

/** One part of a transfer. Fields that are 0 mean "as the device is set". */
struct hal_segment {
    const void *tx;         /**< bytes to send; NULL: none (SPI then sends zeros) */
    void *rx;               /**< room for what comes; NULL: dropped. I2C: exactly one of tx, rx */
    size_t len;             /**< bytes, of tx and of rx alike */
    uint32_t address;       /**< I2C: another target than the device's */
    uint32_t speed_hz;      /**< SPI clock, Hz */
    uint16_t delay_us;      /**< pause after the segment, microseconds */
    uint16_t word_delay_us; /**< SPI: pause between words, microseconds */
    uint8_t bits;           /**< SPI: bits a word */
    uint8_t lanes_tx;       /**< SPI: 1, 2, 4 or 8 data lines */
    uint8_t lanes_rx;
    uint8_t reserved8;
    uint32_t flags; /**< enum hal_segment_flag, or-ed */
    uint64_t reserved64;
};

/**
 * @brief Exchange several segments as one transaction (I2C combined transfer, SPI message).
 * @param dev       The device.
 * @param segments  They, and the buffers they name, stay the caller's.
 * @param count     1 .. HAL_SEGMENTS_MAX; a driver may take fewer.
 * @param until     When to give up.
 * @return Bytes moved in all, or a negative errno: -EOPNOTSUPP when the driver has no transfers,
 *         -EINVAL or -EMSGSIZE for segments it cannot do, else as hal_read(). Runs in the control
 *         lane.
 */
HAL_API ssize_t hal_transfer(hal_handle dev, const struct hal_segment *segments, size_t count,
                             hal_deadline until);

/**
 * @brief Do something only this class of device can do (hal/uart.h ... name the requests).
 * @param dev      The device.
 * @param request  Its number.
 * @param arg      A flat structure without pointers, read and written in place; may be NULL when
 *                 @p size is 0.
 * @param size     Its size in bytes.
 * @param until    When to give up.
 * @return 0 or a count, as the request says; -ENOTTY (unknown request), -EINVAL (wrong size),
 *         -EOPNOTSUPP (driver without requests), else as hal_read(). Runs in the control lane.
 */
HAL_API long hal_control(hal_handle dev, uint32_t request, void *arg, size_t size,
                         hal_deadline until);

/**
 * @brief Wait until a read, or a write, would do something at once.
 * @param dev     The device.
 * @param events  POLLIN, POLLOUT or both (poll(2)).
 * @param until   When to give up.
 * @return The events that are true (POLLIN also when bytes are buffered; POLLHUP and POLLERR as
 *         poll(2) gives them), -ETIMEDOUT, -ECANCELED, -EINTR, -EINVAL, -EBADF, -ESTALE,
 *         -EOPNOTSUPP when the driver offers neither a descriptor nor readiness.
 *
 * It takes no lane, so it may run while others read and write.
 */
HAL_API int hal_poll(hal_handle dev, int events, hal_deadline until);

/**
 * @brief The descriptor to watch in an event loop.
 * @param dev     The device.
 * @param events  POLLIN: the one that becomes readable; POLLOUT: the one that becomes writable.
 * @return The descriptor, which stays the library's (never read, write or close it), or
 *         -EOPNOTSUPP when there is none, -EINVAL, -EBADF, -ESTALE. Valid until hal_close().
 *
 * Buffered bytes do not make it readable: ask hal_pending() before you sleep, or read with
 * HAL_NOWAIT until -EAGAIN.
 */
HAL_API int hal_fd(hal_handle dev, int events);

/** @brief Bytes that are buffered in the library and read without a system call; or -errno. */
HAL_API ssize_t hal_pending(hal_handle dev);

/**
 * @brief End every call that waits in this device now, with -ECANCELED.
 *
 * Calls that begin later are not touched; calls that have their result keep it.
 * @return 0, -EBADF, -ESTALE.
 */
HAL_API int hal_cancel(hal_handle dev);

/** What hal_describe() tells. */
struct hal_description {
    char uri[HAL_URI_MAX + 1];     /**< as opened, logical names resolved */
    char driver[HAL_NAME_MAX + 1]; /**< the driver's name */
    int fd_in;                     /**< as hal_fd(POLLIN), or -1 */
    int fd_out;                    /**< as hal_fd(POLLOUT), or -1 */
    uint64_t memory;               /**< bytes the library holds for this device, buffers included */
};

/**
 * @brief Facts about an open device.
 * @param dev   The device.
 * @param out   Filled in.
 * @param size  sizeof(*out), so that the structure can grow: an older program gets what it knows.
 * @return 0, -EFAULT, -EINVAL (size 0), -EBADF, -ESTALE. Any thread; takes no lane.
 */
HAL_API int hal_describe(hal_handle dev, struct hal_description *out, size_t size);

HAL_END_DECLS

#endif
