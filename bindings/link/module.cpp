/* SPDX-License-Identifier: Apache-2.0 */
/* hal._link: what an agent does with a link once somebody has judged who is there (hal/_link.pyi).
 */
#include <cerrno>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "link.h"

namespace py = pybind11;
using namespace hal_link;

namespace
{

constexpr double NANOSECONDS = 1e9;

int64_t nanoseconds(const std::optional<double> &seconds)
{
    return seconds ? int64_t(*seconds * NANOSECONDS) : HAL_FOREVER;
}

/* The class of hal/errors.py, with errno and sentence. */
void raise(const char *name, int number, const char *text)
{
    py::object type = py::module_::import("hal.errors").attr(name);

    PyErr_SetObject(type.ptr(), py::make_tuple(number, text).ptr());
}

void translate(std::exception_ptr pointer)
{
    try {
        if (pointer)
            std::rethrow_exception(pointer);
    } catch (const Refused &error) {
        raise("PermissionDenied", EACCES, error.what());
    } catch (const TooSlow &error) {
        raise("Timeout", ETIMEDOUT, error.what());
    } catch (const Broken &error) {
        raise("ProtocolError", EPROTO, error.what());
    } catch (const BadFile &error) {
        raise("InvalidArgument", EINVAL, error.what());
    } catch (const Lost &error) {
        raise("Unplugged", ENODEV, error.what());
    }
}

py::object tuple_of(const std::optional<Frame> &frame)
{
    if (!frame)
        return py::none();
    const wire_header &header = frame->header;
    py::bytes body(reinterpret_cast<const char *>(frame->body), header.length);

    return py::make_tuple(unsigned(header.type), unsigned(header.lane), unsigned(header.flags),
                          header.id, header.wait, body);
}

py::bytes handshake(Link &link, double until)
{
    std::vector<uint8_t> der;
    {
        py::gil_scoped_release released;
        der = link.handshake(nanoseconds(until));
    }
    return py::bytes(reinterpret_cast<const char *>(der.data()), der.size());
}

py::object read_frame(Link &link, uint32_t most, std::optional<double> until)
{
    std::optional<Frame> frame;
    {
        py::gil_scoped_release released;
        frame = link.read(most, nanoseconds(until));
    }
    return tuple_of(frame);
}

py::object serve(Link &link, bool readable, bool writable, double until)
{
    std::optional<Frame> frame;
    {
        py::gil_scoped_release released;
        frame =
            link.serve((readable ? READS : 0u) | (writable ? WRITES : 0u), int64_t(until * 1e3));
    }
    return tuple_of(frame);
}

void write_frame(Link &link, unsigned kind, unsigned lane, unsigned flags, uint32_t id,
                 const py::bytes &body)
{
    std::string_view bytes = body;

    if (bytes.size() > WIRE_BODY_MAX)
        throw Broken("a frame holds 1 MiB at most");
    Bytes frame = frame_of(bytes.size());
    if (!bytes.empty())
        memcpy(body_of(frame), bytes.data(), bytes.size());
    seal(frame, {0, uint8_t(kind), uint8_t(lane), uint8_t(flags), id, 0}, bytes.size());
    py::gil_scoped_release released;
    link.send(std::move(frame));
}

py::tuple attach(Link &link, const std::shared_ptr<Served> &served)
{
    Served::State state;
    {
        py::gil_scoped_release released;
        state = link.attach(served);
    }
    return py::make_tuple(state.position, state.last[0], state.last[1], state.last[2]);
}

} // namespace

PYBIND11_MODULE(_link, module)
{
    module.doc() = "What an agent does with a link once somebody has judged who is there.";
    py::register_exception_translator(translate);

    py::class_<Context, std::shared_ptr<Context>>(module, "Context")
        .def(py::init<std::string>(), py::arg("folder"));

    py::class_<Served, std::shared_ptr<Served>>(module, "Served")
        .def(
            py::init([](hal_handle handle, bool memory, bool stream, size_t attributes, bool keep) {
                return std::make_shared<Served>(Device{handle, memory, attributes}, stream, keep);
            }),
            py::arg("handle"), py::kw_only(), py::arg("memory"), py::arg("stream"),
            py::arg("attributes"), py::arg("keep"))
        .def("end", &Served::end, py::call_guard<py::gil_scoped_release>());

    py::class_<Link, std::shared_ptr<Link>>(module, "Link")
        .def(py::init<std::shared_ptr<Context>, int>(), py::arg("context"), py::arg("fd"))
        .def("handshake", &handshake, py::arg("until"))
        .def("read", &read_frame, py::arg("most"), py::arg("until"))
        .def("write", &write_frame, py::arg("kind"), py::arg("lane"), py::arg("flags"),
             py::arg("identifier"), py::arg("body"))
        .def("attach", &attach, py::arg("served"))
        .def("serve", &serve, py::arg("readable"), py::arg("writable"), py::arg("until"))
        .def("end", &Link::end, py::arg("why"), py::call_guard<py::gil_scoped_release>())
        .def_property_readonly("why", &Link::why)
        .def_property_readonly("sent", &Link::sent)
        .def_property_readonly("received", &Link::received)
        .def_property_readonly("requests", &Link::requests)
        .def_property_readonly("heard",
                               [](const Link &link) { return double(link.heard()) / NANOSECONDS; });
}
