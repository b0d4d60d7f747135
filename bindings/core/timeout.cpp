/* SPDX-License-Identifier: Apache-2.0 */
/* Timeouts: seconds in Python, nanoseconds here. */
#include "core.h"

#include <cmath>

bool timeout_parse(PyObject *seconds, int64_t *out)
{
    double value;

    if (seconds == Py_None) {
        *out = FOREVER;
        return true;
    }
    value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError,
                     "timeout must be a number of seconds, or None to wait for ever; got %.100R",
                     seconds);
        return false;
    }
    if (!(value >= 0)) {
        raise_invalid("timeout must be 0 or more seconds, or None to wait for ever; got %g", value);
        return false;
    }
    /* Whatever is above 0 waits, be it ever so little. 2^63 ns are 292 years. */
    if (value > 0 && value < 1e-9)
        value = 1e-9;
    value = std::round(value * 1e9);
    *out = value < 9.2e18 ? (int64_t)value : FOREVER;
    return true;
}

PyObject *timeout_format(int64_t timeout)
{
    if (timeout == FOREVER)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)timeout / 1e9);
}
