/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/driver.h
 * @brief Everything the author of a driver needs; programs that use devices do not.
 *
 * A driver is three functions in a table, registered under a name:
 *
 *     static struct driver_ops uart_hal_ops = {
 *         .init = uart_init, .read = uart_read, .write = uart_write };
 *     hal_register_driver("uart0", &uart_hal_ops);
 *
 * As a plug-in it registers itself with one line, HAL_PLUGIN("name", &ops), and is put as
 * "name.so" into a folder of HAL_DRIVER_PATH or the library's own driver folder.
 *
 * ## What the library does for a driver
 * It parses the URI, checks options and attributes against the driver's table, keeps the lanes
 * apart (`read` is never entered twice at once for one device, nor `write`, nor the control
 * functions `transfer`, `control`, `batch`, attribute `get`/`set`; the three lanes do run beside
 * each other), waits, applies deadlines, wakes on cancel and close, buffers, and words the errors.
 * So the functions of a driver need not wait: they do what can be done at once and return -EAGAIN
 * otherwise; the library then waits for the device's descriptor (hal_device_set_fd()), or for
 * hal_device_wake(), and calls again.
 *
 * A function that must wait by itself (an exchange of several messages, say) gets the deadline as
 * its last argument and waits with hal_device_wait(), which wakes on cancel and close.
 *
 * ## Errors
 * A driver returns a negative errno, and says more with hal_fail() where there is more to say. A
 * return without a message gets one from the library: operation, URI, strerror.
 * Gone for ever (unplugged): -ENODEV. -EINTR may be returned as it came.
 */
#ifndef HAL_DRIVER_H
#define HAL_DRIVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <hal/attribute.h>
#include <hal/batch.h>
#include <hal/deadline.h>
#include <hal/device.h>
#include <hal/export.h>
#include <hal/match.h>
#include <hal/memory.h>
#include <hal/uri.h>
#include <hal/version.h>

HAL_BEGIN_DECLS

/** One open device, as its driver sees it. Opaque; valid from `init` until `fini` returns. */
struct hal_device;

/** Properties of a driver as a whole; driver_ops.flags. */
enum hal_driver_flag {
    /** Takes URI options that its attribute table does not list (they are read with
     *  hal_device_option_at()); without it such an option fails the open. */
    HAL_DRIVER_ANY_OPTION = 1,
    /** `read` and `write` are nothing but read(2) and write(2) on the device's descriptors. The
     *  library may then call these itself, and calls the driver only when nothing came of it, so
     *  that the driver words the failure. Two indirect calls less. */
    HAL_DRIVER_PLAIN_IO = 2
};

/**
 * @brief What a driver can do. `init`, `read` and `write` are needed, the rest is optional: 0 means
 *        absent. New members are only ever added at the end; registering records the size the
 *        driver was compiled with, so an old table goes on working.
 */
struct driver_ops {
    /**
     * Open the device named by hal_device_address(). On success it may have set a descriptor and
     * a state. On failure it undoes what it did, except the descriptor, which the library closes;
     * `fini` is not called.
     */
    int (*init)(struct hal_device *dev);
    /** Up to @p len (> 0) bytes into @p buf: the count, 0 at the end, -EAGAIN: none at once. */
    ssize_t (*read)(struct hal_device *dev, void *buf, size_t len, hal_deadline until);
    /** Up to @p len (> 0) bytes from @p buf: the count taken (> 0), -EAGAIN: none at once. */
    ssize_t (*write)(struct hal_device *dev, const void *buf, size_t len, hal_deadline until);

    /** Undo `init`. Nobody is in another function of this device then, nor will be. */
    void (*fini)(struct hal_device *dev);
    /** hal_transfer(); count is 1 .. HAL_SEGMENTS_MAX, lengths are checked to add up sanely. */
    ssize_t (*transfer)(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until);
    /** hal_control(); -ENOTTY for a request that is not known. */
    long (*control)(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                    hal_deadline until);
    /** For a device without descriptor: which of POLLIN, POLLOUT are true now. Does not wait;
     *  may be called at any time, beside all lanes. Call hal_device_wake() when that changes. */
    int (*poll)(struct hal_device *dev, int events);

    const struct hal_attribute *attributes; /**< what all devices of this driver have */
    size_t attribute_count;
    const char *summary; /**< one line for lists: what it drives */
    const char *address; /**< form of the address, for lists: "/dev/ttyX", "BUS/0xADDR" */
    uint32_t flags;      /**< enum hal_driver_flag, or-ed */

    /* Devices that are memory (hal/memory.h). Width and alignment are checked; the range is not. */

    /** One access of exactly @p width (1, 2, 4, 8) bytes. The control lane. */
    int (*load)(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value);
    int (*store)(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value);
    /** Blocks; len > 0. The read lane, the write lane. */
    ssize_t (*read_at)(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                       hal_deadline until);
    ssize_t (*write_at)(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                        hal_deadline until);
    /** hal_map(): offset, length (0: the rest) and flags are set; fill in the rest. mmap(2) it so
     *  that hal_unmap() can munmap(2) base. The control lane. */
    int (*map)(struct hal_device *dev, struct hal_mapping *mapping);

    const struct hal_match *matches; /**< which devices it fits (hal/match.h) */
    size_t match_count;

    /**
     * hal_batch() as a whole, for a driver to which one exchange of many operations is cheaper than
     * many exchanges; without it the library calls the functions above one after the other. count
     * is 1 .. HAL_BATCH_MAX. All operations have passed the checks of their single calls, `value`
     * of a SET is as its attribute has it, and the library's copies are what the driver gets.
     * Do them in order up to the first that fails, and set `result` in each that was tried: it is
     * -ECANCELED before. Returns 0, or a negative errno when nothing is known of any of them. The
     * control lane.
     */
    int (*batch)(struct hal_device *dev, struct hal_operation *operations, size_t count,
                 hal_deadline until);
};

/* ---- registering ---------------------------------------------------------------------------- */

/**
 * @brief Register a driver. Use the macro hal_register_driver(), which adds size and ABI version.
 * @param name  A letter or digit, then letters, digits, '_', '-', '.'; HAL_NAME_MAX at most.
 * @param ops   Copied; what it points to (tables, strings) must stay until the driver is
 *              unregistered.
 * @param size  sizeof(struct driver_ops) as the driver was compiled.
 * @param abi   HAL_ABI_VERSION as the driver was compiled.
 * @return 0; -EEXIST (the name is taken), -ENOENT (empty name), -ENAMETOOLONG, -EINVAL (ill-formed
 *         name, attribute or match table), -EFAULT (NULL name or table), -ENOSYS (init, read or
 * write is missing), -EPROTONOSUPPORT (other ABI), -E2BIG (the table has members this library does
 *         not know, and uses them), -ENOMEM. Any thread.
 */
HAL_API int hal_register_driver_abi(const char *name, const struct driver_ops *ops, size_t size,
                                    uint32_t abi);

/** @brief Register @p ops under @p name; see hal_register_driver_abi(). */
#define hal_register_driver(name, ops)                                                             \
    hal_register_driver_abi((name), (ops), sizeof(struct driver_ops), HAL_ABI_VERSION)

/**
 * @brief Take a driver out of the registry.
 * @return 0, -ENOENT (not registered), -EBUSY (a device is open; the message says how many),
 *         -EPERM (it belongs to a plug-in, whose code stays loaded). Any thread.
 */
HAL_API int hal_unregister_driver(const char *name);

/* ---- plug-ins ------------------------------------------------------------------------------- */

/** First word of every plug-in's entry symbol: "HALp". */
#define HAL_PLUGIN_MAGIC 0x48414c70u

/**
 * @brief The entry symbol of a plug-in, `hal_plugin`: data, so that the library can judge it
 *        without running any of its code. magic and abi never move.
 */
struct hal_plugin {
    uint32_t magic;    /**< HAL_PLUGIN_MAGIC */
    uint32_t abi;      /**< HAL_ABI_VERSION it was compiled with */
    uint64_t ops_size; /**< sizeof(struct driver_ops) it was compiled with */
    const char *name;  /**< the driver's name; the file is called name.so */
    const struct driver_ops *ops;
    const char *version; /**< of the driver, for people */
};

/** @brief Make this shared object the driver @p driver_name. Once, at file scope. */
#define HAL_PLUGIN(driver_name, driver_table, driver_version)                                      \
    HAL_BEGIN_DECLS                                                                                \
    HAL_API extern const struct hal_plugin hal_plugin;                                             \
    const struct hal_plugin hal_plugin = {                                                         \
        HAL_PLUGIN_MAGIC, HAL_ABI_VERSION, sizeof(struct driver_ops),                              \
        (driver_name),    (driver_table),  (driver_version)};                                      \
    HAL_END_DECLS                                                                                  \
    struct hal_plugin

/* ---- what a driver may ask of its device ------------------------------------------------------
 */
/* All of these may be called from inside any function of the driver, for the device it was given.
 * Strings belong to the device and live as long as it. */

/** @brief The URI the device was opened by, logical names resolved. */
HAL_API const char *hal_device_uri(const struct hal_device *dev);
/** @brief The address part, decoded; "" when there was none. */
HAL_API const char *hal_device_address(const struct hal_device *dev);
/** @brief The deadline of the hal_open() that runs. Only inside `init`. */
HAL_API hal_deadline hal_device_open_deadline(const struct hal_device *dev);

/**
 * @brief An option's value: from the URI, else the attribute's `initial`. Only inside `init`.
 * @return 1 when the URI gives it, 0 when it is the initial value, -ENOENT when there is neither.
 */
HAL_API int hal_device_option(const struct hal_device *dev, const char *name,
                              struct hal_value *out);

/**
 * @brief The URI's options as they were written, decoded. Only inside `init`.
 * @return The option at @p index, NULL behind the last.
 */
HAL_API const struct hal_option *hal_device_option_at(const struct hal_device *dev, size_t index);

/** @brief Keep the driver's own data for this device. The driver frees it in `fini`. */
HAL_API void hal_device_set_state(struct hal_device *dev, void *state);
/** @brief What hal_device_set_state() kept; NULL before. */
HAL_API void *hal_device_state(const struct hal_device *dev);

/**
 * @brief Name the descriptor the device stands on. Only inside `init`.
 *
 * It must be non-blocking. The library owns it from now on: it waits on it, gives it out by
 * hal_fd(), and closes it after `fini` (and after an `init` that fails).
 */
HAL_API void hal_device_set_fd(struct hal_device *dev, int fd);
/** @brief The same for two: one to read from, one to write to. Either may be -1. */
HAL_API void hal_device_set_fds(struct hal_device *dev, int fd_in, int fd_out);
/** @brief The descriptor for reading (and writing, unless two were set); -1 when none. */
HAL_API int hal_device_fd(const struct hal_device *dev);
/** @brief The descriptor for writing; -1 when none. */
HAL_API int hal_device_fd_out(const struct hal_device *dev);

/**
 * @brief Give this device attributes beyond, or in place of, the driver's table. Only inside
 *        `init`; @p attributes must stay as it is until `fini`.
 */
HAL_API void hal_device_set_attributes(struct hal_device *dev,
                                       const struct hal_attribute *attributes, size_t count);

/**
 * @brief Say which driver really serves the device, where this one only passes calls on (to another
 *        machine, say). Only inside `init`.
 * @param driver  Its name, which must stay as it is until `fini`. hal_describe() gives it, so that
 * a program that picks a typed face by the driver's name picks the right one.
 * @return 0; -ENOENT, -ENAMETOOLONG or -EINVAL when it is not formed as a driver name.
 */
HAL_API int hal_device_set_served_by(struct hal_device *dev, const char *driver);

/** The lane a driver function runs in: see "Threads" in hal/device.h. */
enum hal_lane {
    HAL_LANE_READ,   /**< read */
    HAL_LANE_WRITE,  /**< write */
    HAL_LANE_CONTROL /**< transfer, control, attribute get and set; also init */
};

/**
 * @brief Wait inside a driver function.
 * @param dev     The device.
 * @param lane    The lane of the function that waits.
 * @param fd      A descriptor, or -1 to wait for hal_device_wake() alone.
 * @param events  POLLIN, POLLOUT (poll(2)) for @p fd.
 * @param until   The deadline the function was given.
 * @return The events that came (> 0); 0 when woken by hal_device_wake(); -ETIMEDOUT (-EAGAIN with
 *         HAL_NOWAIT), -ECANCELED, -EINTR.
 */
HAL_API int hal_device_wait(struct hal_device *dev, enum hal_lane lane, int fd, int events,
                            hal_deadline until);

/**
 * @brief Tell the library that something changed, so that those who wait look again.
 * @param dev     The device; the driver makes sure that it is still open.
 * @param events  POLLIN: readers; POLLOUT: writers; 0: the control lane.
 *
 * Any thread, also one of the driver's own. Cheap when nobody waits.
 */
HAL_API void hal_device_wake(struct hal_device *dev, int events);

/**
 * @brief Drop what the library has buffered for reading (the driver has flushed the device).
 *
 * From any function of the driver. A hal_read_until() that waits forgets what it had, too.
 */
HAL_API void hal_device_drop_input(struct hal_device *dev);

/* ---- errors -----------------------------------------------------------------------------------
 */

/**
 * @brief Word an error: `operation "object": cause`.
 * @param err        Negative errno.
 * @param operation  "open", "read", "set baud" ...
 * @param object     What it was done to: a path, a URI, a name; NULL: none is named.
 * @param format     printf(3) form of the cause; it follows strerror() in parentheses. NULL: none.
 * @return @p err, so that `return hal_fail(...)` is all there is to write.
 */
HAL_API HAL_PRINTF(4, 5) int hal_fail(int err, const char *operation, const char *object,
                                      const char *format, ...);

/** @brief hal_fail() with the cause alone, without strerror(): `operation "object": cause`. */
HAL_API HAL_PRINTF(4, 5) int hal_fail_plain(int err, const char *operation, const char *object,
                                            const char *format, ...);

/**
 * @brief Pass on the failure of another function of this library, with its message.
 * @param err  What that function returned.
 * @return @p err. For drivers that stand on other devices: `return hal_fail_forward(err)`.
 */
HAL_API int hal_fail_forward(int err);

/**
 * @brief open(2) a device node; O_CLOEXEC is added.
 * @return A descriptor the caller owns, or a negative errno with a message that helps: for EACCES
 *         the node's owner, group and mode, the user's groups, and the command that grants access;
 *         for EBUSY who holds it; for ENOENT what looks like it and does exist.
 *
 * A node younger than a second that may not be opened yet is tried again for up to a second: udev
 * gives it its owner and mode a moment after the kernel has made it.
 */
HAL_API int hal_open_node(const char *path, int flags);

/**
 * @brief Who has @p path open: "pid 1234 (minicom)", several separated by ", ".
 * @return Length of the text; 0 when /proc shows nobody (other users' processes need rights);
 *         -ENAMETOOLONG when cut, -EFAULT.
 */
HAL_API long hal_node_holders(const char *path, char *out, size_t size);

/**
 * @brief Read a small file of sysfs or procfs as text, without the newline at its end.
 * @return Length without the NUL; a negative errno with a message as hal_open_node() words it;
 *         -ENAMETOOLONG when it does not fit; -ENODEV when the device behind it is gone.
 */
HAL_API long hal_node_read_text(const char *path, char *out, size_t size);

/** @brief Write text to such a file, at once. 0, or a negative errno with a message. */
HAL_API int hal_node_write_text(const char *path, const char *text);

HAL_END_DECLS

#endif
