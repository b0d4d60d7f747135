/* SPDX-License-Identifier: Apache-2.0 */
/* hal._core. What is called seldom is bound by pybind11, here and in attribute.cpp and
 * registry.cpp; what is called often is in handle.cpp. */
#include "module.h"

#include "faces.h"

#include <vector>

namespace py = pybind11;

[[noreturn]] void fail(long result, const char *operation, const Handle *self)
{
    raise(result, operation, self);
    throw py::error_already_set();
}

long check(long result, const char *operation, const Handle *self)
{
    if (result < 0)
        fail(result, operation, self);
    return result;
}

Handle *device(const py::handle &object)
{
    Handle *self = handle_of(object.ptr());

    if (!self)
        throw py::error_already_set();
    return self;
}

std::string text_of(const py::str &text, const char *what)
{
    PyObject *bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape");

    if (!bytes)
        throw py::error_already_set();
    std::string out = py::reinterpret_steal<py::bytes>(bytes);
    if (out.find('\0') != std::string::npos) {
        raise_invalid("%s must not contain NUL characters", what);
        throw py::error_already_set();
    }
    return out;
}

py::str str_of(const char *text)
{
    PyObject *out = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");

    if (!out)
        throw py::error_already_set();
    return py::reinterpret_steal<py::str>(out);
}

namespace
{

/* Open a device and wrap it in the class for its driver. */
py::object open(const py::str &uri, const py::object &timeout, const py::dict &faces,
                const py::type &face)
{
    std::string text = text_of(uri, "open: the URI");
    hal_description facts;
    int64_t ns;

    if (!timeout_parse(timeout.ptr(), &ns))
        throw py::error_already_set();
    hal_deadline until = timeout_deadline(ns);
    hal_handle dev = check(blocking([&] { return hal_open(text.c_str(), until); }), "open");
    check(hal_describe(dev, &facts, sizeof(facts)), "open");
    py::object type = faces.attr("get")(facts.driver, face);
    PyObject *out = handle_wrap(reinterpret_cast<PyTypeObject *>(type.ptr()), dev, facts);
    if (!out)
        throw py::error_already_set();
    return py::reinterpret_steal<py::object>(out);
}

/* What the library knows of an open device beyond its URI and driver. */
py::dict describe(const py::handle &object)
{
    Handle *self = device(object);
    hal_description facts;
    py::dict out;

    check(hal_describe(self->handle.load(), &facts, sizeof(facts)), "describe", self);
    out["fd_in"] = facts.fd_in;
    out["fd_out"] = facts.fd_out;
    out["memory"] = facts.memory;
    return out;
}

using Vectored = ssize_t (*)(hal_handle, const struct iovec *, size_t, hal_deadline);

/* readv() and writev(): one call for many buffers. */
long vectored(const py::handle &object, const py::sequence &buffers, const py::object &timeout,
              Vectored call, const char *operation, bool writable)
{
    Handle *self = device(object);
    size_t count = buffers.size();
    std::vector<Memory> memories(count);
    std::vector<iovec> iov(count);
    std::vector<py::object> kept(count);
    hal_deadline until;

    if (!deadline(self, timeout.ptr(), &until))
        throw py::error_already_set();
    for (size_t i = 0; i < count; i++) {
        kept[i] = buffers[i];
        if (!(writable ? memories[i].writable(operation, kept[i].ptr())
                       : memories[i].readable(operation, kept[i].ptr())))
            throw py::error_already_set();
        iov[i] = {memories[i].data, (size_t)memories[i].size};
    }
    return check(
        blocking([&] { return (long)call(self->handle.load(), iov.data(), count, until); }),
        operation, self);
}

py::str quote(const py::str &value)
{
    std::string text = text_of(value, "quote: the value");
    char out[HAL_URI_MAX + 1];

    check(hal_uri_quote(text.c_str(), out, sizeof(out)), "quote");
    return str_of(out);
}

} // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used())
{
    m.doc() = "The fast path to libhal. Use the package hal, which is built on it.";
    if (hal_check_library() < 0)
        throw py::import_error(hal_last_error());
    PyObject *type = handle_type_new(m.ptr());
    if (!type || !errors_load())
        throw py::error_already_set();
    m.attr("Handle") = py::reinterpret_steal<py::object>(type);
    PyObject *mapping = mapping_type_new(m.ptr());
    if (!mapping)
        throw py::error_already_set();
    m.attr("Mapping") = py::reinterpret_steal<py::object>(mapping);
    if (!faces_add(m.ptr(), type))
        throw py::error_already_set();
    m.def("open", open, py::arg("uri"), py::arg("timeout"), py::arg("faces"), py::arg("face"));
    m.def(
        "own_methods",
        [](const py::type &face) {
            if (!faces_own_methods(face.ptr()))
                throw py::error_already_set();
        },
        py::arg("face"));
    m.def("describe", describe, py::arg("device"));
    m.def(
        "readv",
        [](const py::handle &self, const py::sequence &buffers, const py::object &timeout) {
            return vectored(self, buffers, timeout, hal_readv, "readv", true);
        },
        py::arg("device"), py::arg("buffers"), py::arg("timeout"));
    m.def(
        "writev",
        [](const py::handle &self, const py::sequence &buffers, const py::object &timeout) {
            return vectored(self, buffers, timeout, hal_writev, "writev", false);
        },
        py::arg("device"), py::arg("buffers"), py::arg("timeout"));
    m.def("quote", quote, py::arg("value"));
    m.def("version", hal_version_string);
    m.def(
        "blame", [](const py::handle &exception) { blame(exception.ptr()); }, py::arg("exception"));
    m.def(
        "interrupt", [](const py::handle &exception) { interrupt(exception.ptr()); },
        py::arg("exception"));
    bind_attributes(m);
    bind_batch(m);
    bind_cache(m);
    bind_registry(m);
}
