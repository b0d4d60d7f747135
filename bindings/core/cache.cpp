/* SPDX-License-Identifier: Apache-2.0 */
/* hal._core's cache_...: <hal/cache.h> on any buffer. hal/cache.py has the public names. */
#include "module.h"

namespace py = pybind11;

namespace
{

/* Below this many bytes giving up the GIL costs more than the call. */
constexpr Py_ssize_t BRIEF = 4096;

/* What copy_nt() and fill_nt() ask of a buffer: one piece, and what its elements are. */
constexpr int WHOLE = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;

template <class Call> long run(Py_ssize_t bytes, Call call)
{
    return bytes > BRIEF ? blocking(call) : (long)call();
}

/* A buffer as the protocol describes it, strides and all, held for the length of a call. */
class View
{
  public:
    View(const char *operation, const py::handle &object, int flags)
    {
        if (PyObject_CheckBuffer(object.ptr()) &&
            PyObject_GetBuffer(object.ptr(), &view, flags) == 0)
            return;
        refuse(operation, object, flags);
        throw py::error_already_set();
    }
    View(const View &) = delete;
    View &operator=(const View &) = delete;
    ~View()
    {
        PyBuffer_Release(&view);
    }

    Py_buffer view;

  private:
    /* Say what is wrong with the argument; the exporter's own words are the cause. */
    static void refuse(const char *operation, const py::handle &object, int flags)
    {
        const char *type = Py_TYPE(object.ptr())->tp_name;

        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError, "%s: an array or another buffer is needed, not %s",
                         operation, type);
            return;
        }
        py::error_already_set words; /* takes the error away */
        Py_buffer plain;
        if (PyObject_GetBuffer(object.ptr(), &plain, PyBUF_STRIDES | (flags & PyBUF_FORMAT)) != 0) {
            PyErr_Clear();
            raise_invalid("%s: this %s does not give out its memory (%s); view() it as numbers",
                          operation, type, py::str(words.value()).cast<std::string>().c_str());
            return;
        }
        bool read_only = flags & PyBUF_WRITABLE && plain.readonly;
        PyBuffer_Release(&plain);
        if (read_only)
            raise_invalid("%s: the memory of this %s is read-only", operation, type);
        else
            raise_invalid("%s: the memory of this %s is not in one piece (C order)", operation,
                          type);
    }
};

bool holds_objects(const Py_buffer &view)
{
    return view.format && strchr(view.format, 'O');
}

bool is_bytes(const Py_buffer &view)
{
    return view.itemsize == 1 &&
           (!view.format || strchr("Bbc", view.format[strlen(view.format) - 1]));
}

void check_same(const Py_buffer &to, const Py_buffer &from)
{
    const char *left = to.format ? to.format : "B", *right = from.format ? from.format : "B";

    if (to.len != from.len)
        raise_invalid("copy_nt: the destination has %zd bytes, the source %zd", to.len, from.len);
    else if (!is_bytes(to) && !is_bytes(from) && strcmp(left, right) != 0)
        raise_invalid("copy_nt: the destination's elements are \"%s\", the source's \"%s\" (as in "
                      "struct); view() one as bytes to copy bits",
                      left, right);
    else
        return;
    throw py::error_already_set();
}

void check_numbers(const char *operation, const Py_buffer &view)
{
    if (!holds_objects(view))
        return;
    raise_invalid("%s: the buffer holds Python objects, which have counts of their own", operation);
    throw py::error_already_set();
}

/* One operation on exactly the lines that a buffer touches, and its fence. */
void lines(int op, const py::object &buffer)
{
    auto what = (hal_cache_op)op;
    const char *name = hal_cache_op_name(what);
    View held(name ? name : "cache", buffer,
              what == HAL_CACHE_PREFETCH_WRITE ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES);
    const Py_buffer &view = held.view;

    check(run(view.len,
              [&] {
                  return (long)hal_cache_strided(what, view.buf, (size_t)view.itemsize,
                                                 (size_t)view.ndim, view.shape, view.strides);
              }),
          name ? name : "cache");
}

void copy_nt(const py::object &to, const py::object &from)
{
    View target("copy_nt", to, WHOLE | PyBUF_WRITABLE);
    View source("copy_nt", from, WHOLE);

    check_numbers("copy_nt", target.view);
    check_numbers("copy_nt", source.view);
    check_same(target.view, source.view);
    check(run(target.view.len,
              [&] {
                  return (long)hal_copy_nt(target.view.buf, source.view.buf,
                                           (size_t)target.view.len);
              }),
          "copy_nt");
}

void fill_nt(const py::object &to, int byte)
{
    View target("fill_nt", to, WHOLE | PyBUF_WRITABLE);

    check_numbers("fill_nt", target.view);
    if (byte < 0 || byte > UINT8_MAX) {
        raise_invalid("fill_nt: a byte is 0 .. 255, not %d", byte);
        throw py::error_already_set();
    }
    check(run(target.view.len,
              [&] { return (long)hal_fill_nt(target.view.buf, byte, (size_t)target.view.len); }),
          "fill_nt");
}

py::object text_or_none(const char *text)
{
    return text ? py::object(str_of(text)) : py::object(py::none());
}

/* architecture, requested, refused, line, ((operation, instruction, reason, alternatives), ...) */
py::tuple info()
{
    struct hal_cache_info facts;
    py::tuple choices(HAL_CACHE_OPS);

    check(hal_cache_info(&facts, sizeof(facts)), "info");
    for (size_t i = 0; i < HAL_CACHE_OPS; i++) {
        const hal_cache_choice &choice = facts.choices[i];
        choices[i] = py::make_tuple(str_of(hal_cache_op_name((hal_cache_op)i)),
                                    text_or_none(choice.instruction), str_of(choice.reason),
                                    str_of(choice.alternatives));
    }
    return py::make_tuple(str_of(facts.architecture), text_or_none(facts.requested),
                          text_or_none(facts.refused), facts.line, choices);
}

/* ((operation, line, block), ...), line read, block read: nanoseconds */
py::tuple measure()
{
    hal_cache_cost cost;
    py::tuple costs(HAL_CACHE_OPS);

    check(blocking([&] { return (long)hal_cache_measure(&cost, sizeof(cost)); }), "measure");
    for (size_t i = 0; i < HAL_CACHE_OPS; i++)
        costs[i] = py::make_tuple(str_of(hal_cache_op_name((hal_cache_op)i)), cost.line_ns[i],
                                  cost.block_ns[i]);
    return py::make_tuple(costs, cost.read_line_ns, cost.read_block_ns);
}

/* The first and the last byte of a strided buffer, whatever the signs of its strides. */
void extent(const Py_buffer &view, const char **start, size_t *size)
{
    ptrdiff_t low = 0, high = view.itemsize;

    for (int i = 0; i < view.ndim; i++) {
        ptrdiff_t reach = view.shape[i] > 0 ? (view.shape[i] - 1) * view.strides[i] : 0;
        (reach < 0 ? low : high) += reach;
    }
    *start = static_cast<const char *>(view.buf) + low;
    *size = (size_t)(high - low);
}

/* kind, flush, flags, path, device, domain, reason, start, end */
py::tuple query(const py::object &buffer)
{
    View held("query", buffer, PyBUF_STRIDES);
    hal_mapping_facts facts;
    const char *start;
    size_t size;

    extent(held.view, &start, &size);
    check(blocking([&] { return (long)hal_cache_query(start, size, &facts, sizeof(facts)); }),
          "query");
    return py::make_tuple(str_of(hal_memory_kind_name(facts.kind)), (int)facts.flush, facts.flags,
                          str_of(facts.path), str_of(facts.device), str_of(facts.domain),
                          str_of(facts.reason), facts.start, facts.end);
}

} // namespace

void bind_cache(py::module_ &m)
{
    m.def("cache_lines", lines, py::arg("operation"), py::arg("buffer"));
    m.def("cache_copy_nt", copy_nt, py::arg("destination"), py::arg("source"));
    m.def("cache_fill_nt", fill_nt, py::arg("destination"), py::arg("byte"));
    m.def("cache_fence_store", hal_fence_store);
    m.def("cache_fence_load", hal_fence_load);
    m.def("cache_fence_full", hal_fence_full);
    m.def("cache_info", info);
    m.def("cache_measure", measure);
    m.def("cache_query", query, py::arg("buffer"));
}
