/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* A device's attributes are its driver's table and, before it, a table of its own. */
static size_t attribute_total(const struct hal_device *dev)
{
    return dev->attribute_count + dev->ops.attribute_count;
}

static const struct hal_attribute *attribute_nth(const struct hal_device *dev, size_t index)
{
    if (index < dev->attribute_count)
        return &dev->attributes[index];
    return &dev->ops.attributes[index - dev->attribute_count];
}

const struct hal_attribute *attribute_find(const struct hal_device *dev, const char *name)
{
    for (size_t i = 0; i < attribute_total(dev); i++)
        if (!strcmp(attribute_nth(dev, i)->name, name))
            return attribute_nth(dev, i);
    return NULL;
}

#define NAMES_MAX 128

/* "did you mean ..."/"known: ..." for a name that is not there. */
static int say_unknown(const struct hal_device *dev, int err, const char *operation,
                       const char *what, const char *name, uint32_t access)
{
    const char *names[NAMES_MAX] = {NULL}, *nearest;
    char list[HAL_TEXT_MAX * 2] = "";
    size_t count = 0, used = 0;

    for (size_t i = 0; i < attribute_total(dev) && count < NAMES_MAX; i++)
        if (attribute_nth(dev, i)->access & access)
            names[count++] = attribute_nth(dev, i)->name;
    for (size_t i = 0; i < count && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", names[i]);
    nearest = name_nearest(name, names, count);
    if (nearest)
        hal_fail_plain(err, operation, dev->uri, "no %s \"%s\"; did you mean \"%s\"?", what, name,
                       nearest);
    else
        hal_fail_plain(err, operation, dev->uri, "no %s \"%s\"; there %s: %s", what, name,
                       count == 1 ? "is" : "are", count ? list : "none");
    return err;
}

/* ---- options, while a device is opened ------------------------------------------------------ */

int attribute_check_options(const struct hal_device *dev)
{
    const struct hal_uri *uri = dev->parsed;

    for (size_t i = 0; i < uri->option_count; i++) {
        const struct hal_attribute *attr = attribute_find(dev, uri->options[i].key);
        struct hal_value value;
        int err;

        if (!attr && dev->ops.flags & HAL_DRIVER_ANY_OPTION)
            continue;
        if (!attr || !(attr->access & HAL_ATTR_OPEN))
            return say_unknown(dev, -EINVAL, "open", "option", uri->options[i].key, HAL_ATTR_OPEN);
        err = value_parse(attr, uri->options[i].value, &value);
        if (err)
            return err;
    }
    return 0;
}

static const char *given_option(const struct hal_device *dev, const char *name)
{
    const struct hal_uri *uri = dev->parsed;

    for (size_t i = 0; i < uri->option_count; i++)
        if (!strcmp(uri->options[i].key, name))
            return uri->options[i].value;
    return NULL;
}

/* What the driver's function returned: 0 or a negative errno, or the driver is wrong. */
static int checked(struct hal_device *dev, const struct hal_attribute *attr, const char *operation,
                   int result)
{
    if (result <= 0)
        return result;
    return hal_fail_plain(-EPROTO, operation, dev->uri,
                          "\"%s\" of the driver returned %d, neither 0 nor a negative errno",
                          attr->name, result);
}

int attribute_call_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    return checked(dev, attr, "get", attr->get(dev, attr, out));
}

int attribute_call_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    return checked(dev, attr, "set", attr->set(dev, attr, value));
}

int attribute_apply_options(struct hal_device *dev)
{
    const uint32_t settable = HAL_ATTR_OPEN | HAL_ATTR_WRITE;

    for (size_t i = 0; i < attribute_total(dev); i++) {
        const struct hal_attribute *attr = attribute_nth(dev, i);
        const char *text = given_option(dev, attr->name);
        struct hal_value value;
        int err;

        if (!text || (attr->access & settable) != settable || !attr->set)
            continue;
        err = value_parse(attr, text, &value);
        if (!err)
            err = attribute_call_set(dev, attr, &value);
        if (err)
            return err;
    }
    return 0;
}

int hal_device_option(const struct hal_device *dev, const char *name, struct hal_value *out)
{
    const struct hal_attribute *attr = attribute_find(dev, name);
    const char *text = given_option(dev, name);

    if (!attr || !(text || attr->initial))
        return -ENOENT;
    if (value_parse(attr, text ? text : attr->initial, out))
        return -ENOENT; /* a driver whose initial value breaks its own rules */
    return text != NULL;
}

const struct hal_option *hal_device_option_at(const struct hal_device *dev, size_t index)
{
    return index < dev->parsed->option_count ? &dev->parsed->options[index] : NULL;
}

/* ---- get and set ---------------------------------------------------------------------------- */

int attribute_check_get(struct hal_device *dev, const char *name, struct hal_value *out,
                        const struct hal_attribute **row)
{
    const struct hal_attribute *attr;

    if (!name || !out)
        return -EFAULT;
    attr = *row = attribute_find(dev, name);
    if (!attr)
        return say_unknown(dev, -ENOENT, "get", "attribute", name, ~0u);
    if (!(attr->access & HAL_ATTR_READ) || !attr->get)
        return hal_fail_plain(-EACCES, "get", dev->uri, "attribute \"%s\" cannot be read", name);
    memset(out, 0, sizeof(*out));
    out->type = attr->type;
    return 0;
}

static int get_value(struct hal_device *dev, const char *name, struct hal_value *out)
{
    const struct hal_attribute *attr;
    int err = attribute_check_get(dev, name, out, &attr);

    return err ? err : attribute_call_get(dev, attr, out);
}

int attribute_check_set(struct hal_device *dev, const char *name, const struct hal_value *in,
                        const struct hal_attribute **row, struct hal_value *out)
{
    const struct hal_attribute *attr;

    if (!name || !in)
        return -EFAULT;
    attr = *row = attribute_find(dev, name);
    if (!attr)
        return say_unknown(dev, -ENOENT, "set", "attribute", name, ~0u);
    if (!(attr->access & HAL_ATTR_WRITE) || !attr->set)
        return hal_fail_plain(-EACCES, "set", dev->uri, "attribute \"%s\" %s", name,
                              attr->access & HAL_ATTR_OPEN ? "is set when opening, in the URI"
                                                           : "is read-only");
    return value_convert(attr, in, out);
}

static int set_value(struct hal_device *dev, const char *name, const struct hal_value *in)
{
    const struct hal_attribute *attr;
    struct hal_value value;
    int err = attribute_check_set(dev, name, in, &attr, &value);

    return err ? err : attribute_call_set(dev, attr, &value);
}

int hal_get(hal_handle handle, const char *name, struct hal_value *out, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "get", until, &dev);

    if (err)
        return err;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "get", get_value(dev, name, out));
}

int hal_set(hal_handle handle, const char *name, const struct hal_value *value, hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "set", until, &dev);

    if (err)
        return err;
    return (int)device_leave(dev, HAL_LANE_CONTROL, "set", set_value(dev, name, value));
}

int hal_get_int(hal_handle handle, const char *name, int64_t *out, hal_deadline until)
{
    uint32_t mark = error_begin();
    struct hal_value value = {.type = HAL_TYPE_INT};
    int err;

    if (!out)
        return error_end(mark, -EFAULT, "get", name);
    err = hal_get(handle, name, &value, until);
    if (err)
        return err;
    if (value.type != HAL_TYPE_INT && value.type != HAL_TYPE_BOOL)
        return error_end(mark, hal_fail_plain(-EINVAL, "get", name, "it is neither INT nor BOOL"),
                         "get", name);
    *out = value.type == HAL_TYPE_INT ? value.i : value.b;
    return 0;
}

int hal_set_int(hal_handle handle, const char *name, int64_t number, hal_deadline until)
{
    struct hal_value value = {.type = HAL_TYPE_INT, .i = number};

    return hal_set(handle, name, &value, until);
}

long hal_get_text(hal_handle handle, const char *name, char *out, size_t size, hal_deadline until)
{
    struct hal_value value;
    int err = hal_get(handle, name, &value, until);

    return err ? err : hal_value_format(&value, out, size);
}

int hal_set_text(hal_handle handle, const char *name, const char *text, hal_deadline until)
{
    struct hal_value value = {.type = HAL_TYPE_TEXT};
    uint32_t mark = error_begin();

    if (!text)
        return error_end(mark, -EFAULT, "set", name);
    if (strlen(text) >= HAL_TEXT_MAX)
        return error_end(mark,
                         hal_fail_plain(-ENAMETOOLONG, "set", name, "more than %d bytes of text",
                                        HAL_TEXT_MAX - 1),
                         "set", name);
    strcpy(value.s, text);
    return hal_set(handle, name, &value, until);
}

/* ---- listing -------------------------------------------------------------------------------- */

long hal_attribute_count(hal_handle handle)
{
    struct hal_device *dev;
    long count = device_guest(handle, "attributes", &dev);

    if (count)
        return count;
    count = (long)attribute_total(dev);
    device_unguest(dev);
    return count;
}

int hal_attribute_at(hal_handle handle, size_t index, const struct hal_attribute **out)
{
    uint32_t mark = error_begin();
    struct hal_device *dev;
    int err = device_guest(handle, "attributes", &dev);

    if (err)
        return err;
    err = !out ? -EFAULT : index < attribute_total(dev) ? 0 : -ERANGE;
    if (err)
        error_end(mark, err, "attributes", dev->uri);
    else
        *out = attribute_nth(dev, index);
    device_unguest(dev);
    return err;
}

static bool initial_fits(const struct hal_attribute *row)
{
    struct hal_value value;

    return !row->initial || value_parse(row, row->initial, &value) == 0;
}

static const char *row_complaint(const struct hal_attribute *row)
{
    if (name_check(row->name))
        return NAME_FORM;
    if (row->type < HAL_TYPE_BOOL || row->type > HAL_TYPE_CHOICE)
        return "unknown type";
    if (!row->access || row->access & ~(uint32_t)(HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN))
        return "access is HAL_ATTR_READ, HAL_ATTR_WRITE, HAL_ATTR_OPEN or-ed";
    if (row->access & HAL_ATTR_READ && !row->get)
        return "readable, but has no get";
    if (row->access & HAL_ATTR_WRITE && !row->set)
        return "writable, but has no set";
    if (row->type == HAL_TYPE_CHOICE && (!row->choices || !*row->choices))
        return "a choice without choices";
    if (!(row->min <= row->max))
        return "min is above max";
    return initial_fits(row) ? NULL : "its initial value is none that it takes";
}

static bool repeats(const struct hal_attribute *table, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (!strcmp(table[i].name, table[index].name))
            return true;
    return false;
}

int attribute_check_table(const struct hal_attribute *table, size_t count, const char *operation,
                          const char *object)
{
    if (count && !table)
        return hal_fail_plain(-EINVAL, operation, object,
                              "%zu attributes are announced, the table is NULL", count);
    for (size_t i = 0; i < count; i++) {
        const char *why = row_complaint(&table[i]);
        if (!why && repeats(table, i))
            why = "its name is in the table already";
        if (why)
            return hal_fail_plain(-EINVAL, operation, object, "attribute %zu (\"%s\"): %s", i,
                                  table[i].name ? table[i].name : "NULL", why);
    }
    return 0;
}
