/* SPDX-License-Identifier: Apache-2.0 */
/* From an errno and the thread's last message to the classes of hal/errors.py. */
#include "core.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace
{

/* The Python exception a driver written in Python raised in this thread, and what was said then. */
struct Blame {
    PyObject *exception;
    char message[HAL_MESSAGE_MAX];
};

thread_local Blame blamed;
thread_local PyObject *interrupted;

PyObject *classes; /* hal.errors.BY_KIND; never changes */

/* The library words neither a handle that only this module knows to be closed, nor -EAGAIN. */
PyObject *sentence(long result, const char *operation, const Handle *self)
{
    const char *text = hal_last_error();

    if (self && result == -EBADF)
        return PyUnicode_FromFormat("%s \"%U\": the device is closed", operation, self->uri);
    if (self && result == -EAGAIN)
        return PyUnicode_FromFormat("%s \"%U\": not possible at once (timeout 0)", operation,
                                    self->uri);
    if (result == -EAGAIN)
        return PyUnicode_FromFormat("%s: not possible at once (timeout 0)", operation);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* Attach the cause when it belongs to the very failure that is being raised; in any case let go
 * of it, since it keeps the frames of its traceback alive. */
void attach_cause(PyObject *error)
{
    PyObject *cause = blamed.exception;

    blamed.exception = nullptr;
    if (cause && strcmp(blamed.message, hal_last_error()) == 0)
        PyException_SetCause(error, cause);
    else
        Py_XDECREF(cause);
}

PyObject *raise_kind(const char *kind, long number, PyObject *text, bool with_cause)
{
    PyObject *type = text ? PyMapping_GetItemString(classes, kind) : nullptr;
    PyObject *error = type ? PyObject_CallFunction(type, "lO", number, text) : nullptr;

    if (error) {
        if (with_cause && blamed.exception)
            attach_cause(error);
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(type);
    Py_XDECREF(text);
    return nullptr;
}

} // namespace

bool errors_load()
{
    PyObject *module = PyImport_ImportModule("hal.errors");

    classes = module ? PyObject_GetAttrString(module, "BY_KIND") : nullptr;
    Py_XDECREF(module);
    return classes != nullptr;
}

PyObject *raise(long result, const char *operation, const Handle *self)
{
    if (result == RAISED)
        return nullptr;
    return raise_kind(hal_error_kind_name(hal_error_kind(result)), -result,
                      sentence(result, operation, self), true);
}

PyObject *raise_invalid(const char *format, ...)
{
    char text[HAL_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return raise_kind("invalid", EINVAL,
                      PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape"),
                      false);
}

void interrupt(PyObject *exception)
{
    Py_INCREF(exception);
    Py_XSETREF(interrupted, exception);
}

bool check_signals()
{
    PyObject *exception = interrupted;

    if (!exception)
        return PyErr_CheckSignals() == 0;
    interrupted = nullptr;
    PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(exception)), exception);
    Py_DECREF(exception);
    return false;
}

void blame(PyObject *exception)
{
    Py_XDECREF(blamed.exception);
    Py_INCREF(exception);
    blamed.exception = exception;
    snprintf(blamed.message, sizeof(blamed.message), "%s", hal_last_error());
}
