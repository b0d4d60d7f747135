/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* The calling thread's last failure. `fresh` says that hal_fail() worded it inside the call that
 * is still running, so that error_settle() leaves it alone. */
static _Thread_local struct {
    int code;
    bool fresh;
    char text[HAL_MESSAGE_MAX];
} last;

enum hal_error_kind hal_error_kind(long result)
{
    if (result >= 0)
        return HAL_OK;
    switch (-result) {
    case ENODEV:
    case ENXIO:
        return HAL_UNPLUGGED;
    case EBUSY:
        return HAL_BUSY;
    case EACCES:
    case EPERM:
        return HAL_PERMISSION;
    case ETIMEDOUT:
        return HAL_TIMEOUT;
    case ECANCELED:
        return HAL_CANCELLED;
    case EAGAIN:
        return HAL_WOULD_BLOCK;
    case EINTR:
        return HAL_INTERRUPTED;
    case EPROTO:
    case EBADMSG:
    case EILSEQ:
    case EREMOTEIO:
        return HAL_PROTOCOL;
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
        return HAL_UNSUPPORTED;
    case ENOENT:
        return HAL_NOT_FOUND;
    case EBADF:
        return HAL_CLOSED;
    case ESTALE:
        return HAL_FORKED;
    case EINVAL:
    case ERANGE:
    case ENAMETOOLONG:
    case EFAULT:
    case E2BIG:
    case EMSGSIZE:
    case EDOM:
        return HAL_INVALID;
    default:
        return HAL_OTHER;
    }
}

const char *hal_error_kind_name(enum hal_error_kind kind)
{
    static const char *const names[] = {
        [HAL_OK] = "ok",
        [HAL_UNPLUGGED] = "unplugged",
        [HAL_BUSY] = "busy",
        [HAL_PERMISSION] = "permission",
        [HAL_TIMEOUT] = "timeout",
        [HAL_CANCELLED] = "cancelled",
        [HAL_WOULD_BLOCK] = "would-block",
        [HAL_INTERRUPTED] = "interrupted",
        [HAL_PROTOCOL] = "protocol",
        [HAL_UNSUPPORTED] = "unsupported",
        [HAL_NOT_FOUND] = "not-found",
        [HAL_CLOSED] = "closed",
        [HAL_FORKED] = "forked",
        [HAL_INVALID] = "invalid",
        [HAL_OTHER] = "other",
    };

    return (size_t)kind < COUNT_OF(names) ? names[kind] : "unknown";
}

const char *hal_last_error(void)
{
    return last.text;
}

int hal_last_errno(void)
{
    return last.code;
}

/* Append to the message; a message that does not fit ends in "...". */
static HAL_PRINTF(2, 0) size_t append(size_t used, const char *format, va_list args)
{
    int n = vsnprintf(last.text + used, sizeof(last.text) - used, format, args);

    if (n < 0)
        return used;
    if ((size_t)n < sizeof(last.text) - used)
        return used + (size_t)n;
    memcpy(last.text + sizeof(last.text) - 4, "...", 4);
    return sizeof(last.text) - 1;
}

static HAL_PRINTF(2, 3) size_t appendf(size_t used, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    used = append(used, format, args);
    va_end(args);
    return used;
}

static size_t begin(int err, const char *operation, const char *object)
{
    last.code = -err;
    last.fresh = true;
    return object ? appendf(0, "%s \"%s\": ", operation, object) : appendf(0, "%s: ", operation);
}

/* strerror(3) for a few errnos says something else than what they mean here. */
static const char *meaning(int code, char *scratch, size_t size)
{
    switch (code) {
    case ESTALE:
        return "the device was opened by the parent process";
    case EBADF:
        return "the device is closed";
    case ETIMEDOUT:
        return "timed out";
    case ECANCELED:
        return "cancelled";
    default:
        return strerror_r(code, scratch, size);
    }
}

int hal_fail(int err, const char *operation, const char *object, const char *format, ...)
{
    char scratch[64];
    size_t used = begin(err, operation, object);
    va_list args;

    used = appendf(used, "%s", meaning(-err, scratch, sizeof(scratch)));
    if (format) {
        used = appendf(used, " (");
        va_start(args, format);
        used = append(used, format, args);
        va_end(args);
        appendf(used, ")");
    }
    return err;
}

int hal_fail_plain(int err, const char *operation, const char *object, const char *format, ...)
{
    size_t used = begin(err, operation, object);
    va_list args;

    va_start(args, format);
    append(used, format, args);
    va_end(args);
    return err;
}

int hal_fail_forward(int err)
{
    last.fresh = last.code == -err;
    return err;
}

int error_settle(int err, const char *operation, const char *object)
{
    if (err == -EAGAIN)
        return err;
    if (!last.fresh || last.code != -err)
        hal_fail(err, operation, object, NULL);
    last.fresh = false;
    return err;
}
