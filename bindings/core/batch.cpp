/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: hal.batch's operations to struct hal_operation, and what came back to Python. */
#include "module.h"

#include <deque>
#include <vector>

#include "message.h"

namespace py = pybind11;

namespace
{

/* One operation and all that it names. */
struct Operation {
    hal_operation operation = {};
    hal_value value = {};
    std::string name;
    Message message;
    Argument argument;
};

std::string name_of(const py::object &name)
{
    if (!py::isinstance<py::str>(name))
        throw py::type_error("batch: the name of an attribute is a str, not '" +
                             std::string(Py_TYPE(name.ptr())->tp_name) + "'");
    return text_of(name, "batch: the name");
}

/* The fields of an operation behind its kind; hal.batch sees to it that there are so many. */
void take_fields(Operation &made, const py::tuple &fields)
{
    hal_operation &op = made.operation;
    unsigned width = 0;
    bool good = true;

    switch (op.kind) {
    case HAL_OPERATION_TRANSFER:
        good = made.message.take(fields[1].ptr());
        op.segments = made.message.segments.data();
        op.count = made.message.segments.size();
        break;
    case HAL_OPERATION_CONTROL:
        good = request_number(fields[1].ptr(), &op.request) &&
               made.argument.take("control", fields[2].ptr());
        op.argument = made.argument.data;
        op.size = made.argument.size;
        break;
    case HAL_OPERATION_GET:
    case HAL_OPERATION_SET:
        made.name = name_of(fields[1]);
        if (op.kind == HAL_OPERATION_SET)
            made.value = value_in(fields[2].ptr(), ("set " + made.name).c_str());
        op.name = made.name.c_str();
        op.value = &made.value;
        break;
    case HAL_OPERATION_LOAD:
        good = number("load", "offset", fields[1].ptr(), &op.offset) &&
               access_width("load", fields[2].ptr(), &width);
        op.width = width;
        break;
    default:
        good = number("store", "offset", fields[1].ptr(), &op.offset) &&
               number("store", "value", fields[2].ptr(), &op.word) &&
               access_width("store", fields[3].ptr(), &width) &&
               fits("store", "value", op.word, width);
        op.width = width;
        break;
    }
    if (!good)
        throw py::error_already_set();
}

py::object result_of(Operation &made, const hal_operation &done)
{
    switch (done.kind) {
    case HAL_OPERATION_TRANSFER:
        return py::reinterpret_steal<py::object>(made.message.release_received());
    case HAL_OPERATION_CONTROL:
        return py::int_(done.result);
    case HAL_OPERATION_GET:
        return value_out(made.value);
    case HAL_OPERATION_LOAD:
        return py::int_(done.word);
    default:
        return py::none();
    }
}

/* Raise what failed, with what had been done before. */
[[noreturn]] void fail_with(long result, const Handle *self, const py::list &results)
{
    raise(result, "batch", self);
    py::error_already_set error;
    error.value().attr("results") = results;
    throw error;
}

py::list batch(const py::handle &object, const py::list &given, const py::object &timeout)
{
    Handle *self = device(object);
    std::deque<Operation> made;
    std::vector<hal_operation> operations;
    bool told = false;
    size_t done = 0;
    hal_deadline until;
    py::list results;

    if (!deadline(self, timeout.ptr(), &until))
        throw py::error_already_set();
    for (const py::handle &fields : given) {
        made.emplace_back().operation.kind = fields[py::int_(0)].cast<uint32_t>();
        take_fields(made.back(), py::reinterpret_borrow<py::tuple>(fields));
        operations.push_back(made.back().operation);
    }
    /* After a signal it goes on where it was interrupted. */
    long result = blocking([&]() -> long {
        ssize_t count = hal_batch(self->handle.load(), operations.data() + done,
                                  operations.size() - done, until);
        if (count < 0)
            return count;
        told = true;
        done += (size_t)count;
        return done == operations.size() ? 0 : (long)operations[done].result;
    });
    for (size_t i = 0; i < done; i++)
        results.append(result_of(made[i], operations[i]));
    if (result < 0 && told)
        fail_with(result, self, results);
    check(result, "batch", self);
    return results;
}

} // namespace

void bind_batch(py::module_ &m)
{
    m.def("batch", batch, py::arg("device"), py::arg("operations"), py::arg("timeout"));
}
