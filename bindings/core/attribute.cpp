/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: values between Python and struct hal_value. */
#include "module.h"

namespace py = pybind11;

py::object value_out(const hal_value &value)
{
    switch (value.type) {
    case HAL_TYPE_BOOL:
        return py::bool_(value.b);
    case HAL_TYPE_INT:
        return py::int_(value.i);
    case HAL_TYPE_FLOAT:
        return py::float_(value.f);
    default:
        return str_of(value.s);
    }
}

namespace
{

void take_text(const py::str &text, const char *operation, hal_value *out)
{
    std::string bytes = text_of(text, operation);

    if (bytes.size() >= sizeof(out->s)) {
        raise_invalid("%s: a text of %zu bytes is too long (%zu at most)", operation, bytes.size(),
                      sizeof(out->s) - 1);
        throw py::error_already_set();
    }
    out->type = HAL_TYPE_TEXT;
    memcpy(out->s, bytes.c_str(), bytes.size() + 1);
}

void take_int(PyObject *number, const char *operation, hal_value *out)
{
    py::object exact = py::reinterpret_steal<py::object>(PyNumber_Index(number));
    int overflow = 0;

    if (!exact)
        throw py::error_already_set();
    out->type = HAL_TYPE_INT;
    out->i = PyLong_AsLongLongAndOverflow(exact.ptr(), &overflow);
    if (overflow) {
        raise_invalid("%s: the number does not fit into 64 bits", operation);
        throw py::error_already_set();
    }
}

} // namespace

hal_value value_in(PyObject *object, const char *operation)
{
    hal_value out = {};

    if (PyBool_Check(object)) {
        out.type = HAL_TYPE_BOOL;
        out.b = object == Py_True;
    } else if (PyUnicode_Check(object)) {
        take_text(py::reinterpret_borrow<py::str>(object), operation, &out);
    } else if (PyIndex_Check(object)) {
        take_int(object, operation, &out);
    } else if (PyNumber_Check(object)) {
        out.type = HAL_TYPE_FLOAT;
        out.f = PyFloat_AsDouble(object);
        if (PyErr_Occurred())
            throw py::error_already_set();
    } else {
        PyErr_Format(PyExc_TypeError, "%s: a value must be bool, int, float or str, not '%.100s'",
                     operation, Py_TYPE(object)->tp_name);
        throw py::error_already_set();
    }
    return out;
}

namespace
{

py::list attributes(const py::handle &object)
{
    Handle *self = device(object);
    long count = check(hal_attribute_count(self->handle.load()), "attributes", self);
    py::list out;

    for (long i = 0; i < count; i++) {
        const hal_attribute *row;
        check(hal_attribute_at(self->handle.load(), (size_t)i, &row), "attributes", self);
        out.append(attribute_fields(*row));
    }
    return out;
}

py::object get(const py::handle &object, const py::str &name)
{
    Handle *self = device(object);
    std::string key = text_of(name, "get: the name");
    hal_deadline until = handle_deadline(self);
    hal_value value;

    check(blocking([&] { return (long)hal_get(self->handle.load(), key.c_str(), &value, until); }),
          "get", self);
    return value_out(value);
}

void set(const py::handle &object, const py::str &name, const py::object &wanted)
{
    Handle *self = device(object);
    std::string key = text_of(name, "set: the name");
    std::string operation = "set " + key;
    hal_value value = value_in(wanted.ptr(), operation.c_str());
    hal_deadline until = handle_deadline(self);

    check(blocking([&] { return (long)hal_set(self->handle.load(), key.c_str(), &value, until); }),
          operation.c_str(), self);
}

py::object text_or_none(const char *text)
{
    return text ? py::object(str_of(text)) : py::object(py::none());
}

} // namespace

py::tuple attribute_fields(const hal_attribute &row)
{
    py::list choices;
    bool bounded = row.min != 0 || row.max != 0;

    for (const char *const *choice = row.choices; choice && *choice; choice++)
        choices.append(str_of(*choice));
    return py::make_tuple(str_of(row.name), (int)row.type, (int)row.access, text_or_none(row.unit),
                          str_of(row.doc ? row.doc : ""),
                          bounded ? py::object(py::make_tuple(row.min, row.max))
                                  : py::object(py::none()),
                          py::tuple(choices), text_or_none(row.initial));
}

void bind_attributes(py::module_ &m)
{
    m.def("attributes", attributes, py::arg("device"));
    m.def("get", get, py::arg("device"), py::arg("name"));
    m.def("set", set, py::arg("device"), py::arg("name"), py::arg("value"));
}
