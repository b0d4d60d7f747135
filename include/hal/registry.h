/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/registry.h
 * @brief Which drivers there are, which could not be loaded and why, and logical names.
 *
 * A plug-in is looked for by its file name, DRIVER.so, in each folder of the environment variable
 * HAL_DRIVER_PATH (separated by ':', ignored in set-user-ID programs), then in the library's own
 * driver folder (hal_driver_dir()). The first that is found counts. Once loaded, a plug-in stays
 * loaded until the process ends.
 */
#ifndef HAL_REGISTRY_H
#define HAL_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

enum hal_driver_state {
    HAL_DRIVER_REGISTERED = 1, /**< ready: registered by the program, or a plug-in that is loaded */
    HAL_DRIVER_LOADABLE,       /**< a plug-in file that nobody has asked for yet */
    HAL_DRIVER_REFUSED         /**< a plug-in that cannot be used; `reason` says why */
};

/** One driver, as hal_driver_each() shows it. Strings are valid during the visit only. */
struct hal_driver_info {
    const char *name;
    enum hal_driver_state state;
    const char *path;    /**< the plug-in's file; NULL for a driver the program registered */
    const char *version; /**< the plug-in's; NULL when it is not known */
    const char *summary; /**< NULL when it is not known */
    const char *address; /**< form of its address; NULL when it is not known */
    const char *reason;  /**< for REFUSED */
    uint64_t open;       /**< devices open now */
    const struct hal_attribute *attributes; /**< the driver's table; NULL when it is not known */
    size_t attribute_count;
    const struct hal_match *matches; /**< which devices it fits; NULL when it is not known */
    size_t match_count;
};

/** Called once a driver; anything but 0 ends the listing and is returned by hal_driver_each(). */
typedef int (*hal_driver_visitor)(const struct hal_driver_info *info, void *arg);

/**
 * @brief Show every driver: registered ones, then the plug-in files of the search path.
 * @param visit  The visitor. It may call any function of this library (the driver it is being shown
 *              cannot be unregistered meanwhile: -EBUSY).
 * @param arg    Handed to it.
 * @return 0, what the visitor returned, -EFAULT, -ENOMEM. Any thread.
 *
 * It loads nothing: call hal_load_drivers() first to know of every plug-in whether it works.
 */
HAL_API int hal_driver_each(hal_driver_visitor visit, void *arg);

/**
 * @brief Load every plug-in of the search path that is not loaded yet.
 * @return How many are refused (hal_driver_each() tells which and why), or -ENOMEM. Any thread.
 */
HAL_API long hal_load_drivers(void);

/**
 * @brief Load one plug-in by its path, wherever it is.
 * @return 0 (also when this very file was loaded before), -ENOENT (no such file), -ENOEXEC (not a
 *         plug-in; the dynamic linker's reason is in the message), -EPROTONOSUPPORT (another ABI;
 *         the message has both versions), or what registering said. Any thread.
 */
HAL_API int hal_load_driver(const char *path);

/** @brief The library's own driver folder. Static; do not free. Any thread. */
HAL_API const char *hal_driver_dir(void);

/**
 * @brief Bind a logical name to a URI: hal_open("console") then opens it.
 * @param name  Formed as a driver name; must not be one of a registered driver.
 * @param uri   What it stands for, options included; not another logical name. Options given when
 *              opening by name ("console?baud=9600") are added, and replace those of the binding.
 * @return 0, -EEXIST (bound before, or a driver's name), -ENOENT, -EINVAL, -ENAMETOOLONG, -ENOMEM,
 *         -EFAULT. Any thread.
 */
HAL_API int hal_bind(const char *name, const char *uri);

/** @brief Undo hal_bind(); devices that are open stay open. 0 or -ENOENT. Any thread. */
HAL_API int hal_unbind(const char *name);

/** Called once a binding; anything but 0 ends the listing. */
typedef int (*hal_binding_visitor)(const char *name, const char *uri, void *arg);

/** @brief Show every logical name, in no order. 0, what the visitor returned, or -EFAULT. */
HAL_API int hal_binding_each(hal_binding_visitor visit, void *arg);

HAL_END_DECLS

#endif
