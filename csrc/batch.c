/* SPDX-License-Identifier: Apache-2.0 */
/* Several operations in one hold of the control lane: by the driver's own `batch`, or one by one.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

static const char *name_of(const struct hal_operation *operation)
{
    static const char *const names[] = {
        [HAL_OPERATION_TRANSFER] = "transfer", [HAL_OPERATION_CONTROL] = "control",
        [HAL_OPERATION_GET] = "get",           [HAL_OPERATION_SET] = "set",
        [HAL_OPERATION_LOAD] = "load",         [HAL_OPERATION_STORE] = "store",
    };

    return operation->kind && operation->kind < COUNT_OF(names) ? names[operation->kind] : "batch";
}

/* The checks of the single call. `operation` becomes what the driver gets: it has the attribute's
 * row, and the value to set in the attribute's own type, in `value`. */
static int check(struct hal_device *dev, struct hal_operation *operation, struct hal_value *value)
{
    const struct hal_value *wanted = operation->value;

    switch (operation->kind) {
    case HAL_OPERATION_TRANSFER:
        return device_check_transfer(dev, operation->segments, operation->count);
    case HAL_OPERATION_CONTROL:
        return device_check_control(dev, operation->argument, operation->size);
    case HAL_OPERATION_GET:
        return attribute_check_get(dev, operation->name, operation->value, &operation->attribute);
    case HAL_OPERATION_SET:
        operation->value = value;
        return attribute_check_set(dev, operation->name, wanted, &operation->attribute, value);
    case HAL_OPERATION_LOAD:
        return memory_check_load(dev, operation->offset, operation->width, &operation->word);
    case HAL_OPERATION_STORE:
        return memory_check_store(dev, operation->offset, operation->width);
    default:
        return hal_fail_plain(-EINVAL, "batch", dev->uri, "there is no operation of kind %u",
                              operation->kind);
    }
}

static int64_t call_driver(struct hal_device *dev, struct hal_operation *operation,
                           hal_deadline until)
{
    switch (operation->kind) {
    case HAL_OPERATION_TRANSFER:
        return device_transfer(dev, operation->segments, operation->count, until);
    case HAL_OPERATION_CONTROL:
        return device_control(dev, operation->request, operation->argument, operation->size, until);
    case HAL_OPERATION_GET:
        return attribute_call_get(dev, operation->attribute, operation->value);
    case HAL_OPERATION_SET:
        return attribute_call_set(dev, operation->attribute, operation->value);
    case HAL_OPERATION_LOAD:
        return dev->ops.load(dev, operation->offset, operation->width, &operation->word);
    default:
        return dev->ops.store(dev, operation->offset, operation->width, operation->word);
    }
}

/* What is worded from now on is about another operation. */
static void begin(struct hal_device *dev)
{
    dev->lanes[HAL_LANE_CONTROL].error_mark = error_begin();
}

/* An operation's outcome. True: it failed, and is worded. */
static bool settle(struct hal_device *dev, struct hal_operation *operation, int64_t result)
{
    operation->result = result;
    if (result < 0)
        error_end(dev->lanes[HAL_LANE_CONTROL].error_mark, (int)result, name_of(operation),
                  dev->uri);
    return result < 0;
}

/* ---- one by one ----------------------------------------------------------------------------- */

static int64_t do_one(struct hal_device *dev, struct hal_operation *operation, hal_deadline until)
{
    struct hal_operation checked = *operation;
    struct hal_value value;
    int64_t result;

    if (lane_cancelled(&dev->lanes[HAL_LANE_CONTROL]))
        return -ECANCELED;
    result = check(dev, &checked, &value);
    if (!result)
        result = call_driver(dev, &checked, until);
    operation->word = checked.word;
    return result;
}

static ssize_t one_by_one(struct hal_device *dev, struct hal_operation *operations, size_t count,
                          hal_deadline until)
{
    size_t done = 0;

    for (; done < count; done++) {
        begin(dev);
        if (settle(dev, &operations[done], do_one(dev, &operations[done], until)))
            break;
    }
    return (ssize_t)done;
}

/* ---- by the driver -------------------------------------------------------------------------- */

/* As many as pass their checks, for the driver. The first that does not is checked again when its
 * turn comes, so that its failure is worded last. */
static size_t check_all(struct hal_device *dev, const struct hal_operation *operations,
                        size_t count, struct hal_operation *checked, struct hal_value *values)
{
    for (size_t i = 0; i < count; i++) {
        checked[i] = operations[i];
        if (check(dev, &checked[i], &values[i]))
            return i;
        checked[i].result = -ECANCELED;
    }
    return count;
}

static int64_t outcome(struct hal_device *dev, const struct hal_operation *checked)
{
    if (checked->kind != HAL_OPERATION_TRANSFER)
        return checked->result;
    return device_transferred(dev, checked->segments, checked->count, (ssize_t)checked->result);
}

/* Take over what the driver did; how many were done. */
static size_t settle_all(struct hal_device *dev, struct hal_operation *operations,
                         const struct hal_operation *checked, size_t count)
{
    size_t done = 0;

    for (; done < count; done++) {
        operations[done].word = checked[done].word;
        if (settle(dev, &operations[done], outcome(dev, &checked[done])))
            break;
    }
    return done;
}

static ssize_t drive(struct hal_device *dev, struct hal_operation *operations, size_t count,
                     struct hal_operation *checked, struct hal_value *values, hal_deadline until)
{
    size_t good = check_all(dev, operations, count, checked, values), done;
    int err;

    begin(dev);
    err = good ? dev->ops.batch(dev, checked, good, until) : 0;
    if (err > 0)
        return hal_fail_plain(-EPROTO, "batch", dev->uri,
                              "the driver returned %d, neither 0 nor a negative errno", err);
    if (err)
        return err;
    done = settle_all(dev, operations, checked, good);
    if (done == good)
        done += (size_t)one_by_one(dev, operations + good, good < count, until);
    return (ssize_t)done;
}

static ssize_t by_driver(struct hal_device *dev, struct hal_operation *operations, size_t count,
                         hal_deadline until)
{
    struct hal_operation *checked = calloc(count, sizeof(*checked));
    struct hal_value *values = calloc(count, sizeof(*values));
    ssize_t done = -ENOMEM;

    if (checked && values)
        done = drive(dev, operations, count, checked, values, until);
    free(values);
    free(checked);
    return done;
}

/* ---- the call ------------------------------------------------------------------------------- */

static ssize_t batch(struct hal_device *dev, struct hal_operation *operations, size_t count,
                     hal_deadline until)
{
    if (count > HAL_BATCH_MAX)
        return hal_fail_plain(-EINVAL, "batch", dev->uri, "%zu operations; 0 .. %d can be done",
                              count, HAL_BATCH_MAX);
    if (count && !operations)
        return -EFAULT;
    for (size_t i = 0; i < count; i++)
        operations[i].result = -ECANCELED;
    if (count && dev->ops.batch)
        return by_driver(dev, operations, count, until);
    return one_by_one(dev, operations, count, until);
}

ssize_t hal_batch(hal_handle handle, struct hal_operation *operations, size_t count,
                  hal_deadline until)
{
    struct hal_device *dev;
    int err = device_enter(handle, HAL_LANE_CONTROL, "batch", until, &dev);

    if (err)
        return err;
    return device_leave(dev, HAL_LANE_CONTROL, "batch", batch(dev, operations, count, until));
}
