/* SPDX-License-Identifier: Apache-2.0 */
/* In place of plugin.c in libhal.a: a static program loads nothing, its drivers are linked in.
 * CMake names them in HAL_BUILTIN_DRIVERS, as X(uart) X(i2c) ... */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../internal.h"

#define X(name) extern const struct hal_plugin hal_plugin_##name;
HAL_BUILTIN_DRIVERS
#undef X

static const struct hal_plugin *const builtin[] = {
#define X(name) &hal_plugin_##name,
    HAL_BUILTIN_DRIVERS
#undef X
};

const char *hal_driver_dir(void)
{
    return "";
}

void plugin_path_text(char *out, size_t size)
{
    snprintf(out, size, "no folder, this libhal is linked statically");
}

int plugin_load(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(builtin); i++)
        if (!strcmp(builtin[i]->name, name))
            return driver_register(name, builtin[i]->ops, builtin[i]->ops_size, builtin[i]->abi,
                                   NULL, builtin[i]->version);
    return -ENOENT;
}

int hal_load_driver(const char *path)
{
    return hal_fail_plain(path ? -EOPNOTSUPP : -EFAULT, "load driver", path,
                          "this libhal is linked statically: its drivers are those it was built "
                          "with");
}

long hal_load_drivers(void)
{
    for (size_t i = 0; i < COUNT_OF(builtin); i++)
        if (!driver_is_registered(builtin[i]->name))
            plugin_load(builtin[i]->name);
    return 0;
}

int plugin_each_unloaded(hal_driver_visitor visit, void *arg)
{
    int result = 0;

    for (size_t i = 0; i < COUNT_OF(builtin) && !result; i++) {
        const struct driver_ops *ops = builtin[i]->ops;
        struct hal_driver_info info = {.name = builtin[i]->name,
                                       .state = HAL_DRIVER_LOADABLE,
                                       .version = builtin[i]->version,
                                       .summary = ops->summary,
                                       .address = ops->address,
                                       .attributes = ops->attributes,
                                       .attribute_count = ops->attribute_count,
                                       .matches = ops->matches,
                                       .match_count = ops->match_count};

        if (!driver_is_registered(info.name))
            result = visit(&info, arg);
    }
    return result;
}

/* Nothing here is held: what registering needs is registry.c's. */
void plugin_before_fork(void)
{
}

void plugin_after_fork(bool in_child)
{
    (void)in_child;
}
