/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include <hal/driver.h>

#include "internal.h"

#define LIST "list devices"

int hal_discover_each_at(const char *root, const char *text, hal_discover_visitor visit, void *arg)
{
    struct query query;
    struct look look;
    int result;

    if (!root || !visit)
        return hal_fail(-EFAULT, LIST, NULL, NULL);
    result = query_parse(text, &query);
    if (result)
        return result;
    result = look_take(&look, root, &query);
    if (result)
        return hal_fail(result, LIST, root, NULL);
    for (size_t i = 0; i < look.count && !result; i++)
        result = visit(&look.devices[i], arg);
    look_free(&look);
    return result;
}

int hal_discover_each(const char *query, hal_discover_visitor visit, void *arg)
{
    return hal_discover_each_at("/", query, visit, arg);
}
