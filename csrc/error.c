/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* The calling thread's last failure. `fresh` says that no call has ended with it yet. */
static _Thread_local struct {
    int code;
    bool fresh;
    char text[HAL_MESSAGE_MAX];
} last;

_Thread_local uint32_t hal_error_serial;

enum hal_error_kind hal_error_kind(long result)
{
    if (result >= 0)
        return HAL_OK;
    switch (result) {
    case -ENODEV:
    case -ENXIO:
        return HAL_UNPLUGGED;
    case -ENOLINK:
        return HAL_LINK_LOST;
    case -EBUSY:
        return HAL_BUSY;
    case -EACCES:
    case -EPERM:
        return HAL_PERMISSION;
    case -ETIMEDOUT:
        return HAL_TIMEOUT;
    case -ECANCELED:
        return HAL_CANCELLED;
    case -EAGAIN:
        return HAL_WOULD_BLOCK;
    case -EINTR:
        return HAL_INTERRUPTED;
    case -EPROTO:
    case -EBADMSG:
    case -EILSEQ:
    case -EREMOTEIO:
        return HAL_PROTOCOL;
    case -EOPNOTSUPP:
    case -ENOTTY:
    case -ENOSYS:
        return HAL_UNSUPPORTED;
    case -ENOENT:
        return HAL_NOT_FOUND;
    case -EBADF:
        return HAL_CLOSED;
    case -ESTALE:
        return HAL_FORKED;
    case -EINVAL:
    case -ERANGE:
    case -ENAMETOOLONG:
    case -EFAULT:
    case -E2BIG:
    case -EMSGSIZE:
    case -EDOM:
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
        [HAL_LINK_LOST] = "link-lost",
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

/* A message in the making: apart from the last one, which it may be made of. */
struct message {
    size_t used;
    char text[HAL_MESSAGE_MAX];
};

/* A message that does not fit ends in "...". */
static HAL_PRINTF(2, 0) void append(struct message *to, const char *format, va_list args)
{
    size_t room = sizeof(to->text) - to->used;
    int n = vsnprintf(to->text + to->used, room, format, args);

    if (n < 0)
        return;
    if ((size_t)n < room) {
        to->used += (size_t)n;
        return;
    }
    to->used = sizeof(to->text) - 1;
    memcpy(to->text + to->used - 3, "...", 4);
}

static HAL_PRINTF(2, 3) void appendf(struct message *to, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    append(to, format, args);
    va_end(args);
}

static void begin(struct message *message, const char *operation, const char *object)
{
    message->used = 0;
    if (object)
        appendf(message, "%s \"%s\": ", operation, object);
    else
        appendf(message, "%s: ", operation);
}

static int finish(int err, const struct message *message)
{
    memcpy(last.text, message->text, message->used + 1);
    last.code = -err;
    last.fresh = true;
    hal_error_serial++;
    return err;
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
    struct message message;
    char scratch[64];
    va_list args;

    begin(&message, operation, object);
    appendf(&message, "%s", meaning(-err, scratch, sizeof(scratch)));
    if (format) {
        appendf(&message, " (");
        va_start(args, format);
        append(&message, format, args);
        va_end(args);
        appendf(&message, ")");
    }
    return finish(err, &message);
}

int hal_fail_plain(int err, const char *operation, const char *object, const char *format, ...)
{
    struct message message;
    va_list args;

    begin(&message, operation, object);
    va_start(args, format);
    append(&message, format, args);
    va_end(args);
    return finish(err, &message);
}

int hal_fail_forward(int err)
{
    last.fresh = last.code == -err;
    return err;
}

bool error_worded(uint32_t mark, int err)
{
    return last.fresh && last.code == -err && hal_error_serial != mark;
}

int error_end(uint32_t mark, int err, const char *operation, const char *object)
{
    if (err == -EAGAIN)
        return err;
    if (!error_worded(mark, err))
        hal_fail(err, operation, object, NULL);
    last.fresh = false;
    return err;
}

int error_settle(int err, const char *operation, const char *object)
{
    return error_end(hal_error_serial - 1, err, operation, object);
}
