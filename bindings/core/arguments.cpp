/* SPDX-License-Identifier: Apache-2.0 */
#include "arguments.h"

static bool bind_keyword(const Signature &signature, PyObject *key, PyObject *value, PyObject **out)
{
    for (Py_ssize_t i = 0; signature.parameters[i]; i++) {
        if (PyUnicode_CompareWithASCIIString(key, signature.parameters[i]) != 0)
            continue;
        if (!out[i]) {
            out[i] = value;
            return true;
        }
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature.name,
                     key);
        return false;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature.name,
                 key);
    return false;
}

bool bind_slow(const Signature &signature, PyObject *const *args, Py_ssize_t count,
               PyObject *keywords, PyObject **out)
{
    Py_ssize_t most = 0;

    while (signature.parameters[most])
        most++;
    if (count > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)",
                     signature.name, most, count);
        return false;
    }
    for (Py_ssize_t i = 0; keywords && i < PyTuple_GET_SIZE(keywords); i++)
        if (!bind_keyword(signature, PyTuple_GET_ITEM(keywords, i), args[count + i], out))
            return false;
    for (Py_ssize_t i = 0; i < signature.required; i++) {
        if (out[i])
            continue;
        PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", signature.name,
                     signature.parameters[i]);
        return false;
    }
    return true;
}

bool length(const Signature &signature, const char *parameter, PyObject *value, Py_ssize_t *out)
{
    Py_ssize_t n;

    if (!value)
        return true;
    n = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred())
        return false;
    if (n < 0) {
        raise_invalid("%s: %s must be 0 or more bytes; got %zd", signature.name, parameter, n);
        return false;
    }
    *out = n;
    return true;
}

bool Memory::refuse(const char *operation, PyObject *object, int flags)
{
    PyObject *type, *cause, *trace;

    if (!PyObject_CheckBuffer(object)) {
        PyErr_Format(
            PyExc_TypeError,
            "%s needs a bytes-like object (bytes, bytearray, memoryview, numpy array ...), "
            "not '%.100s'%s",
            operation, Py_TYPE(object)->tp_name,
            PyUnicode_Check(object) ? "; encode the text first" : "");
        return false;
    }
    PyErr_Fetch(&type, &cause, &trace);
    PyErr_Format(PyExc_BufferError, "%s needs a %sC-contiguous buffer; this '%.100s' is none (%S)",
                 operation, flags & PyBUF_WRITABLE ? "writable, " : "", Py_TYPE(object)->tp_name,
                 cause ? cause : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(cause);
    Py_XDECREF(trace);
    return false;
}
