/* SPDX-License-Identifier: Apache-2.0 */
/* Handle.transfer() and Handle.control(). */
#include "message.h"

namespace
{

const char *const segments_timeout[] = {"segments", "timeout", nullptr};
const char *const request_buffer_timeout[] = {"request", "buffer", "timeout", nullptr};

} // namespace

PyObject *handle_transfer(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const Signature signature = {"transfer", segments_timeout, 1};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[2] = {};
    Message message;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[1], &until) ||
        !message.take(given[0]))
        return nullptr;
    result = blocking([&] {
        return (long)hal_transfer(self->handle.load(), message.segments.data(),
                                  message.segments.size(), until);
    });
    return result < 0 ? raise(result, signature.name, self) : message.release_received();
}

PyObject *handle_control(PyObject *object, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords)
{
    static const Signature signature = {"control", request_buffer_timeout, 1};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[3] = {};
    Argument argument;
    hal_deadline until;
    uint32_t request;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[2], &until) ||
        !request_number(given[0], &request) || !argument.take(signature.name, given[1]))
        return nullptr;
    return count_or_raise(self, signature.name, blocking([&] {
                              return hal_control(self->handle.load(), request, argument.data,
                                                 argument.size, until);
                          }));
}
