/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/error.h
 * @brief What went wrong, for programs (a number) and for people (a sentence).
 *
 * Every function that can fail returns 0 or a count, or a *negative errno*. The calling thread's
 * last message tells the rest - operation, object and cause:
 *
 *     open "/dev/ttyUSB0": Permission denied (owner root:dialout, mode 0660; you are in: users)
 *
 * The numbers mean the same in C, in Python and across the network:
 *
 * | errno               | kind                | meaning                                           |
 * |---------------------|---------------------|---------------------------------------------------|
 * | ENODEV, ENXIO       | HAL_UNPLUGGED       | the device is gone                                |
 * | ENOLINK             | HAL_LINK_LOST       | the link to a device of another machine is lost   |
 * | EBUSY               | HAL_BUSY            | somebody else holds it                            |
 * | EACCES, EPERM       | HAL_PERMISSION      | the rights are missing                            |
 * | ETIMEDOUT           | HAL_TIMEOUT         | the deadline passed                               |
 * | ECANCELED           | HAL_CANCELLED       | hal_cancel() or hal_close() by another thread     |
 * | EAGAIN              | HAL_WOULD_BLOCK     | nothing to do at once (only with HAL_NOWAIT)      |
 * | EINTR               | HAL_INTERRUPTED     | a signal handler ran; call again                  |
 * | EPROTO, EBADMSG, EILSEQ, EREMOTEIO | HAL_PROTOCOL | the other side answered wrongly, or not |
 * | EOPNOTSUPP, ENOTTY, ENOSYS | HAL_UNSUPPORTED | this device cannot do that                     |
 * | ENOENT              | HAL_NOT_FOUND       | no such device, driver, name or attribute         |
 * | EBADF               | HAL_CLOSED          | the handle was closed, or never was one           |
 * | ESTALE              | HAL_FORKED          | the handle was opened before fork(2), by a parent |
 * | EINVAL, ERANGE, ENAMETOOLONG, EFAULT, E2BIG, EMSGSIZE, EDOM | HAL_INVALID | wrong argument  |
 * | anything else       | HAL_OTHER           | as the kernel said, e.g. EIO, ENOMEM              |
 */
#ifndef HAL_ERROR_H
#define HAL_ERROR_H

#include <hal/export.h>

HAL_BEGIN_DECLS

/** Longest message, the terminating NUL included; a longer one is cut and ends in "...". */
#define HAL_MESSAGE_MAX 1024

/** What kind of failure an errno stands for; see the table above. */
enum hal_error_kind {
    HAL_OK = 0,
    HAL_UNPLUGGED,
    HAL_BUSY,
    HAL_PERMISSION,
    HAL_TIMEOUT,
    HAL_CANCELLED,
    HAL_WOULD_BLOCK,
    HAL_INTERRUPTED,
    HAL_PROTOCOL,
    HAL_UNSUPPORTED,
    HAL_NOT_FOUND,
    HAL_CLOSED,
    HAL_FORKED,
    HAL_INVALID,
    HAL_OTHER,
    HAL_LINK_LOST /* new kinds come last: their numbers are part of the ABI */
};

/**
 * @brief The kind of a return value.
 * @param result  What a function returned: negative errno, or a success (0 and more: HAL_OK).
 *
 * Never fails. Any thread.
 */
HAL_API enum hal_error_kind hal_error_kind(long result);

/** @brief "unplugged", "busy" ...: a kind as one word. Static; do not free. Any thread. */
HAL_API const char *hal_error_kind_name(enum hal_error_kind kind);

/**
 * @brief What the calling thread's last failed call said.
 * @return The message; "" when nothing has failed in this thread. It belongs to the thread and is
 *         overwritten by the thread's next failing call: copy it to keep it. Do not free it.
 *
 * Successful calls leave it alone. After -EAGAIN it is not renewed (polling stays cheap).
 */
HAL_API const char *hal_last_error(void);

/** @brief The errno (positive) that belongs to hal_last_error(), 0 when there is none. */
HAL_API int hal_last_errno(void);

HAL_END_DECLS

#endif
