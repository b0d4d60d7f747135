/* SPDX-License-Identifier: Apache-2.0 */
/* From the arguments of a fast call to what the library takes. */
#ifndef HAL_BINDINGS_ARGUMENTS_H
#define HAL_BINDINGS_ARGUMENTS_H

#include "core.h"

#include <cinttypes>

struct Signature {
    const char *name;
    const char *const *parameters; /* ended by NULL; a "timeout" comes last */
    Py_ssize_t required;
};

/* What bind() does for keywords and for wrong counts. */
bool bind_slow(const Signature &signature, PyObject *const *args, Py_ssize_t count,
               PyObject *keywords, PyObject **out);

/* Fill `out`, all NULL before, with borrowed references. */
template <Py_ssize_t N>
static inline bool bind(const Signature &signature, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords, PyObject *(&out)[N])
{
    for (Py_ssize_t i = 0; i < count && i < N; i++)
        out[i] = args[i];
    if (__builtin_expect(!keywords && count >= signature.required && count <= N, 1))
        return true;
    return bind_slow(signature, args, count, keywords, out);
}

/* The deadline of this call: its own timeout if there is one, else the device's. */
static inline bool deadline(const Handle *self, PyObject *timeout, hal_deadline *out)
{
    int64_t ns = self->timeout.load(std::memory_order_relaxed);

    if (timeout && timeout != Py_Ellipsis && !timeout_parse(timeout, &ns))
        return false;
    *out = timeout_deadline(ns);
    return true;
}

/* A number of bytes; `out` is left alone when `value` is NULL. */
bool length(const Signature &signature, const char *parameter, PyObject *value, Py_ssize_t *out);

/* A number of the machine: any int within 0 .. 2^64-1. */
inline bool number(const char *operation, const char *parameter, PyObject *value, uint64_t *out)
{
    if (!value)
        return true;
    if (!PyLong_Check(value)) {
        PyObject *index = PyNumber_Index(value); /* numpy integers, IntEnum ... */
        bool good = index && number(operation, parameter, index, out);
        Py_XDECREF(index);
        return good;
    }
    *out = PyLong_AsUnsignedLongLong(value);
    if (*out != UINT64_MAX || !PyErr_Occurred())
        return true;
    PyErr_Clear();
    raise_invalid("%s: %s must be within 0 .. 2**64-1", operation, parameter);
    return false;
}

inline bool access_width(const char *operation, PyObject *value, unsigned *out)
{
    uint64_t width = *out;

    if (!number(operation, "width", value, &width))
        return false;
    *out = width <= 8 ? (unsigned)width : 9; /* what the library refuses, it words */
    return true;
}

/* Bits that a register of this width does not have are an error, not lost. */
inline bool fits(const char *operation, const char *parameter, uint64_t value, unsigned width)
{
    if (width >= 8 || value >> (8 * width) == 0)
        return true;
    raise_invalid("%s: %s 0x%" PRIx64 " does not fit into %u byte%s", operation, parameter, value,
                  width, width == 1 ? "" : "s");
    return false;
}

/* The memory of an argument, held for the length of a call. The caller's reference keeps a bytes
 * object alive, whose memory cannot change: it needs no holding. */
class Memory
{
  public:
    Memory() = default;
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    ~Memory()
    {
        if (held)
            PyBuffer_Release(&view);
    }

    bool readable(const char *operation, PyObject *object)
    {
        if (__builtin_expect(PyBytes_CheckExact(object), 1)) {
            data = PyBytes_AS_STRING(object);
            size = PyBytes_GET_SIZE(object);
            return true;
        }
        return take(operation, object, PyBUF_SIMPLE);
    }

    bool writable(const char *operation, PyObject *object)
    {
        return take(operation, object, PyBUF_WRITABLE);
    }

    void *data = nullptr;
    Py_ssize_t size = 0;

  private:
    bool take(const char *operation, PyObject *object, int flags)
    {
        if (__builtin_expect(PyObject_GetBuffer(object, &view, flags) != 0, 0))
            return refuse(operation, object, flags);
        held = true;
        data = view.buf;
        size = view.len;
        return true;
    }

    static bool refuse(const char *operation, PyObject *object, int flags);

    Py_buffer view;
    bool held = false;
};

/* A count as Python sees it. */
static inline PyObject *count_or_raise(const Handle *self, const char *operation, long result)
{
    if (__builtin_expect(result >= 0, 1))
        return PyLong_FromSsize_t(result);
    return raise(result, operation, self);
}

#endif
