/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

namespace
{

/* Positions in a hal.Segment, which is a tuple; what is left out at its end is 0. */
enum { TX, RX, ADDRESS, SPEED, DELAY, WORD_DELAY, BITS, LANES_TX, LANES_RX, FLAGS, FIELDS };

bool field(PyObject *tuple, Py_ssize_t which, Py_ssize_t index, unsigned long most,
           unsigned long *out)
{
    PyObject *value = which < PyTuple_GET_SIZE(tuple) ? PyTuple_GET_ITEM(tuple, which) : nullptr;
    unsigned long number = value ? PyLong_AsUnsignedLong(value) : 0;

    if (number == (unsigned long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return false;
        PyErr_Clear();
    }
    if (number > most) {
        raise_invalid("transfer: segment %zd: field %zd is not within 0..%lu", index, which, most);
        return false;
    }
    *out = number;
    return true;
}

} // namespace

bool Message::take(PyObject *sequence)
{
    Py_ssize_t count;

    /* A copy: the buffers of the segments must outlive the call, whoever changes the list. */
    kept = PySequence_Tuple(sequence);
    if (!kept || !(received = PyList_New(0)))
        return false;
    count = PyTuple_GET_SIZE(kept);
    memories = std::vector<Memory>(2 * (size_t)count);
    segments.reserve((size_t)count + 1);
    for (Py_ssize_t i = 0; i < count; i++)
        if (!add(PyTuple_GET_ITEM(kept, i), i))
            return false;
    return true;
}

PyObject *Message::release_received()
{
    PyObject *list = received;
    received = nullptr;
    return list;
}

bool Message::add_tx(PyObject *tx, Py_ssize_t index, hal_segment *segment)
{
    Memory &memory = memories[2 * (size_t)index];

    if (tx == Py_None)
        return true;
    if (!memory.readable("transfer", tx))
        return false;
    segment->tx = memory.data;
    segment->len = (size_t)memory.size;
    return true;
}

/* A length asks for a new bytes object, filled in place before anybody sees it. */
bool Message::add_rx(PyObject *rx, Py_ssize_t index, hal_segment *segment)
{
    size_t len;

    if (rx == Py_None)
        return true;
    if (PyLong_Check(rx)) {
        Py_ssize_t n = PyLong_AsSsize_t(rx);
        if (n < 0) {
            if (!PyErr_Occurred())
                raise_invalid("transfer: segment %zd: rx is a negative length", index);
            return false;
        }
        PyObject *bytes = PyBytes_FromStringAndSize(nullptr, n);
        if (!bytes || PyList_Append(received, bytes) < 0) {
            Py_XDECREF(bytes);
            return false;
        }
        segment->rx = PyBytes_AS_STRING(bytes);
        len = (size_t)n;
        Py_DECREF(bytes);
    } else {
        Memory &memory = memories[2 * (size_t)index + 1];
        if (!memory.writable("transfer", rx) || PyList_Append(received, rx) < 0)
            return false;
        segment->rx = memory.data;
        len = (size_t)memory.size;
    }
    if (segment->tx && segment->len != len) {
        raise_invalid("transfer: segment %zd: tx has %zu bytes, rx %zu; they must be equal", index,
                      segment->len, len);
        return false;
    }
    segment->len = len;
    return true;
}

bool Message::add(PyObject *tuple, Py_ssize_t index)
{
    static const unsigned long most[FIELDS] = {0,          0,          UINT32_MAX, UINT32_MAX,
                                               UINT16_MAX, UINT16_MAX, UINT8_MAX,  UINT8_MAX,
                                               UINT8_MAX,  UINT32_MAX};
    unsigned long value[FIELDS] = {};
    hal_segment segment = {};

    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 2 || PyTuple_GET_SIZE(tuple) > FIELDS) {
        PyErr_Format(PyExc_TypeError, "transfer: segment %zd must be a hal.Segment, not '%.100s'",
                     index, Py_TYPE(tuple)->tp_name);
        return false;
    }
    for (Py_ssize_t i = ADDRESS; i < FIELDS; i++)
        if (!field(tuple, i, index, most[i], &value[i]))
            return false;
    segment.address = (uint32_t)value[ADDRESS];
    segment.speed_hz = (uint32_t)value[SPEED];
    segment.delay_us = (uint16_t)value[DELAY];
    segment.word_delay_us = (uint16_t)value[WORD_DELAY];
    segment.bits = (uint8_t)value[BITS];
    segment.lanes_tx = (uint8_t)value[LANES_TX];
    segment.lanes_rx = (uint8_t)value[LANES_RX];
    segment.flags = (uint32_t)value[FLAGS];
    if (!add_tx(PyTuple_GET_ITEM(tuple, TX), index, &segment) ||
        !add_rx(PyTuple_GET_ITEM(tuple, RX), index, &segment))
        return false;
    segments.push_back(segment);
    return true;
}

bool Argument::take(const char *operation, PyObject *buffer)
{
    if (!buffer)
        return true;
    if (memory.writable(operation, buffer)) {
        data = memory.data;
    } else {
        PyErr_Clear();
        if (!memory.readable(operation, buffer))
            return false;
        copy.assign((char *)memory.data, (char *)memory.data + memory.size);
        data = copy.data();
    }
    size = (size_t)memory.size;
    return true;
}

bool request_number(PyObject *number, uint32_t *out)
{
    unsigned long request = PyLong_AsUnsignedLong(number);

    if (PyErr_Occurred())
        return false;
    if (request > UINT32_MAX) {
        raise_invalid("control: request %lu is not within 0..0xffffffff", request);
        return false;
    }
    *out = (uint32_t)request;
    return true;
}
