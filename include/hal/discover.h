/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/discover.h
 * @brief Which devices this machine has, without opening any; for C. Library: libhal-discover.
 *
 *     static int show(const struct hal_discovered *device, void *arg)
 *     {
 *         printf("%s %s %s\n", device->id, device->name, device->uri);
 *         return 0;
 *     }
 *     hal_discover_each("class=serial", show, NULL);
 *
 * It is a library of its own beside libhal, so that programs which open devices by name do not pay
 * for it: link with -lhal-discover (pkg-config hal-discover, CMake target hal::discover).
 *
 * What is found, the ids, the URIs and the states are those of hal.discovery in Python
 * (docs/discovery-c.md), for this machine alone: the network, names from pci.ids and usb.ids,
 * udev's database and the configuration file are Python's. Only sysfs is read (kernel
 * documentation, admin-guide/sysfs-rules.rst), never a device node, so looking disturbs nothing.
 *
 * ## Queries
 * Words with blanks between them, all of which must hold; of words with one key, any. A word is
 * KEY=PATTERN, with '*' for any text and '?' for any one letter, and quoted where it holds blanks
 * ("vendor='NXP *'"); or alone the id, name, URI or node of a device. Keys: class, vendor, model,
 * serial, driver, state, id, subsystem, and, told apart by case, name, uri, node, path. NULL and
 * "" ask for all.
 *
 * ## Threads
 * hal_discover_each() may be called by any thread. A watch is used by one thread at a time; several
 * watches do not disturb each other. Visitors may call any function of both libraries, but not end
 * or advance the watch that called them.
 */
#ifndef HAL_DISCOVER_H
#define HAL_DISCOVER_H

#include <stdint.h>

#include <hal/deadline.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

/** How a device stands to the set that the watch has shown before. */
enum hal_discover_change {
    HAL_DISCOVER_SAME,
    HAL_DISCOVER_ADDED,
    HAL_DISCOVER_CHANGED, /**< something else of it than its id differs */
    HAL_DISCOVER_GONE     /**< as it was last; it is not in the set any more */
};

/** One device. Text that is not known is "", never NULL. Strings are valid during the visit only.
 *  The library alone makes these; members are only ever added at the end. */
struct hal_discovered {
    const char *id;           /**< UUID, the same after a reboot and in Python */
    const char *device_class; /**< "serial", "i2c", "spi", "gpio", "pci", "memory" ... */
    const char *name;         /**< the kernel's: "ttyUSB0", "0000:00:03.0" */
    const char *vendor;
    const char *model;
    const char *serial;
    const char *driver;              /**< the HAL driver that fits best (hal/match.h) */
    const char *uri;                 /**< what hal_open() takes */
    const char *why;                 /**< the row of the driver's table that fits */
    int score;                       /**< how well; 0 when no driver fits */
    const char *node;                /**< what is opened: below /dev, or a file of sysfs */
    const char *state;               /**< "ready", "denied", "kernel", "no node", "present" */
    const char *subsystem;           /**< the kernel's bus or class */
    const char *path;                /**< below /sys: "/devices/..." */
    enum hal_discover_change change; /**< for watches; hal_discover_each(): ADDED */
};

/** Called once a device; anything but 0 ends the listing. */
typedef int (*hal_discover_visitor)(const struct hal_discovered *device, void *arg);

/**
 * @brief Show the devices of this machine, by class and path.
 * @param query  Which ones; see above.
 * @param visit  The visitor.
 * @param arg    Handed to it.
 * @return 0, what the visitor returned, -EINVAL (the query is ill-formed; the message says where),
 *         -EFAULT, -ENOMEM. Plug-ins of the search path are loaded, to know what they fit.
 */
HAL_API int hal_discover_each(const char *query, hal_discover_visitor visit, void *arg);

/**
 * @brief hal_discover_each() for a machine that was copied to, or is mounted at, a folder.
 * @param root  Where its root is; "/" is this one.
 */
HAL_API int hal_discover_each_at(const char *root, const char *query, hal_discover_visitor visit,
                                 void *arg);

/** A watch: the set of devices, followed as they come and go. Opaque. */
struct hal_discovery;

/**
 * @brief Begin to watch. Nothing is looked at yet: call hal_discover_next() for the first set.
 * @param query  Which devices; see above.
 * @param out    The watch. The caller ends it by hal_discover_close().
 * @return 0, -EINVAL, -EFAULT, -ENOMEM, -EMFILE, -ENFILE; on failure *out is NULL.
 *
 * It stands on the kernel's uevents and udev's (netlink(7), NETLINK_KOBJECT_UEVENT). In a container
 * with a network namespace of its own these do not arrive; there look with hal_discover_each().
 */
HAL_API int hal_discover_open(const char *query, struct hal_discovery **out);

/**
 * @brief A descriptor that is readable (POLLIN, or POLLERR) when there may be news.
 *
 * For poll(2), epoll(7) and event loops; only hal_discover_next() reads it. Some news concern
 * nothing that was asked for: hal_discover_next() with HAL_NOWAIT then gives -EAGAIN. It belongs to
 * the watch.
 */
HAL_API int hal_discover_fd(const struct hal_discovery *watch);

/**
 * @brief Wait until the set differs from the one shown before, and show it, whole.
 * @param watch       The watch.
 * @param generation  Set to the number of the set, when not NULL: 1 for the first, and one more for
 *                    each that differs.
 * @param visit       Called for each device of the set, its `change` telling the difference, then
 *                    for those that are gone. NULL: nobody is shown it.
 * @param arg         Handed to it.
 * @param until       How long to wait. The first set comes at once.
 * @return 0, what the visitor returned (the set counts as shown), -EAGAIN (HAL_NOWAIT: it does not
 *         differ), -ETIMEDOUT, -EINTR, -EFAULT, -ENOMEM (then it will be tried again).
 *
 * Events only say that something happened; the set is always read anew. So it does no harm that
 * events come late, twice, in thousands, or are lost (ENOBUFS): what counts is what is there.
 */
HAL_API int hal_discover_next(struct hal_discovery *watch, uint64_t *generation,
                              hal_discover_visitor visit, void *arg, hal_deadline until);

/** @brief End the watch and close its descriptor. NULL is nothing to do. */
HAL_API void hal_discover_close(struct hal_discovery *watch);

HAL_END_DECLS

#endif
