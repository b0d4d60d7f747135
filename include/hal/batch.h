/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/batch.h
 * @brief Several operations of the control lane in one call.
 *
 * The operations are done in order, in one hold of the device's control lane: no other thread's
 * transfer, request, attribute or register access on this handle comes in between. Each is what its
 * single call is (hal_transfer(), hal_control(), hal_get(), hal_set(), hal_load(), hal_store()),
 * with the same operands, checks and errors. The first that fails is the last that is tried.
 *
 * Here that saves little; on a device of another machine (`hal://`) the whole batch is one round
 * trip:
 *
 *     struct hal_operation operations[] = {
 *         {.kind = HAL_OPERATION_STORE, .width = 4, .offset = 0x10, .word = 1},
 *         {.kind = HAL_OPERATION_LOAD, .width = 4, .offset = 0x14},
 *     };
 *     if (hal_batch(dev, operations, 2, hal_after_ms(100)) != 2)
 *         fprintf(stderr, "%s\n", hal_last_error());
 *
 * It is no transaction: what was done before a failure stays done.
 */
#ifndef HAL_BATCH_H
#define HAL_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <hal/attribute.h>
#include <hal/deadline.h>
#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

/** Most operations in one hal_batch(). */
#define HAL_BATCH_MAX 256

/** Which call an operation is. */
enum hal_operation_kind {
    HAL_OPERATION_TRANSFER = 1, /**< hal_transfer(): segments, count                     */
    HAL_OPERATION_CONTROL,      /**< hal_control(): request, argument, size              */
    HAL_OPERATION_GET,          /**< hal_get(): name; what value points to is filled in  */
    HAL_OPERATION_SET,          /**< hal_set(): name, value                              */
    HAL_OPERATION_LOAD,         /**< hal_load(): offset, width; word is filled in        */
    HAL_OPERATION_STORE         /**< hal_store(): offset, width, word                    */
};

/** One operation. Operands that its kind does not have are not looked at; reserved ones are 0. */
struct hal_operation {
    uint32_t kind;    /**< enum hal_operation_kind */
    uint32_t width;   /**< of the register, bytes: 1, 2, 4 or 8 */
    uint64_t offset;  /**< of the register, bytes from the device's start; a multiple of width */
    uint64_t word;    /**< STORE: what to write, its low width bytes; LOAD: what was read */
    uint32_t request; /**< the number of CONTROL */
    uint32_t reserved32;
    void *argument; /**< of CONTROL, read and written in place */
    size_t size;    /**< of the argument, bytes */
    const struct hal_segment *segments;
    size_t count;            /**< of the segments */
    const char *name;        /**< the attribute's */
    struct hal_value *value; /**< SET: what to set, not changed; GET: room for what it is */
    /** For the driver: the attribute's row. What a program puts here is not looked at. */
    const struct hal_attribute *attribute;
    /** Set by hal_batch(): what the single call returns, 0, a count or a negative errno;
     *  -ECANCELED also for an operation that was not tried. */
    int64_t result;
    uint64_t reserved64[2];
};

/**
 * @brief Do several operations in order, until one fails.
 * @param dev         The device.
 * @param operations  They, and what they name, stay the caller's. `result` is set in each, and
 *                    what came is put where each operation wants it.
 * @param count       0 .. HAL_BATCH_MAX; 0 only checks the handle.
 * @param until       When to give up; bounds all of them together. As in the single calls, what
 *                    need not wait is done even when it has passed.
 * @return How many were done, from the first on. @p count: all. Fewer, say n: operations[n] failed,
 *         its `result` says why, hal_last_error() is its sentence, and those behind it were not
 *         tried. Or a negative errno, when that can be said of none and no `result` counts: -EBADF,
 *         -ESTALE, -EFAULT, -EINVAL (@p count), -ENOMEM, -ETIMEDOUT (-EAGAIN), -ECANCELED or -EINTR
 *         before the lane was free - nothing was done; on a remote device also -EMSGSIZE (operands
 *         or results are more than 1 MiB in all; nothing was done), -EACCES (the token does not
 *         allow all of them; nothing was done), and the failures of the link, after which the
 *         batch may have been done.
 *
 * Any thread; the control lane. hal_cancel() and hal_close() end it between two operations as well.
 */
HAL_API ssize_t hal_batch(hal_handle dev, struct hal_operation *operations, size_t count,
                          hal_deadline until);

HAL_END_DECLS

#endif
