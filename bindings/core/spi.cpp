/* SPDX-License-Identifier: Apache-2.0 */
/* hal._core.SpiHandle: bytes out, bytes in, in one crossing. */
#include "faces.h"

namespace
{

const char *const segments_timeout[] = {"segments", "timeout", nullptr};
const char *const tx_rx_timeout[] = {"tx", "rx", "timeout", nullptr};

long exchange(const Handle *self, const Memory &tx, void *rx, hal_deadline until)
{
    hal_segment segment = {};

    segment.tx = tx.data;
    segment.rx = rx;
    segment.len = (size_t)tx.size;
    return blocking([&] { return (long)hal_transfer(self->handle.load(), &segment, 1, until); });
}

PyObject *transfer(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"transfer", segments_timeout, 1};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[2] = {}, *bytes;
    Memory tx;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given))
        return nullptr;
    if (!PyBytes_CheckExact(given[0]) && !PyObject_CheckBuffer(given[0])) {
        PyObject *segments[] = {given[0], given[1] ? given[1] : Py_Ellipsis};
        return handle_transfer(object, segments, 2, nullptr);
    }
    if (!deadline(self, given[1], &until) || !tx.readable(signature.name, given[0]) ||
        !(bytes = PyBytes_FromStringAndSize(nullptr, tx.size)))
        return nullptr;
    result = exchange(self, tx, PyBytes_AS_STRING(bytes), until);
    if (result >= 0)
        return bytes;
    Py_DECREF(bytes);
    return raise(result, signature.name, self);
}

PyObject *transfer_into(PyObject *object, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords)
{
    static const Signature signature = {"transfer_into", tx_rx_timeout, 2};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[3] = {};
    Memory tx, rx;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[2], &until) ||
        !tx.readable(signature.name, given[0]) || !rx.writable(signature.name, given[1]))
        return nullptr;
    if (tx.size != rx.size)
        return raise_invalid("transfer_into: tx has %zd bytes, rx %zd; they must be equal", tx.size,
                             rx.size);
    return count_or_raise(self, signature.name, exchange(self, tx, rx.data, until));
}

} // namespace

PyMethodDef spi_methods[] = {
    FAST_METHOD(
        transfer,
        "transfer($self, segments, timeout=...)\n--\n\n"
        "Exchange bytes, or several segments, under one chip select.\n\n"
        "Args:\n    segments: Bytes to send while as many are received (full duplex); or\n"
        "        hal.Segment tuples.\n\n"
        "Returns:\n    The bytes received; for segments a list with an entry for each that\n"
        "    has an rx."),
    FAST_METHOD(transfer_into,
                "transfer_into($self, tx, rx, timeout=...)\n--\n\n"
                "Send tx while receiving into rx, a writable buffer of the same length (which may\n"
                "be tx itself), without a copy.\n\n"
                "Returns:\n    How many bytes went each way."),
    {nullptr, nullptr, 0, nullptr},
};
