/* SPDX-License-Identifier: Apache-2.0 */
/* hal._core.Handle: the base class of hal.Device. What is called often is a method in CPython's
 * fast calling convention (METH_FASTCALL), which costs no tuple, no dictionary and no dispatch. */
#include "arguments.h"

#include <poll.h>

#include <cstring>

namespace
{

constexpr Py_ssize_t READ_DEFAULT = 65536;
/* Lines are read here first, and into a bytes object of the full size only when they are longer. */
constexpr Py_ssize_t SCRATCH = 4096;

PyTypeObject *handle_type;

Handle *as_handle(PyObject *self)
{
    return reinterpret_cast<Handle *>(self);
}

hal_handle number(const Handle *self)
{
    return self->handle.load(std::memory_order_relaxed);
}

const char *const n_timeout[] = {"n", "timeout", nullptr};
const char *const buffer_timeout[] = {"buffer", "timeout", nullptr};
const char *const until_timeout[] = {"delimiter", "size", "timeout", nullptr};
const char *const size_timeout[] = {"size", "timeout", nullptr};
const char *const events_timeout[] = {"events", "timeout", nullptr};
const char *const events_only[] = {"events", nullptr};

bool poll_events(const Signature &signature, PyObject *value, int *out)
{
    long events = PyLong_AsLong(value);

    if (events == -1 && PyErr_Occurred())
        return false;
    if (events <= 0 || (events & ~(POLLIN | POLLOUT))) {
        raise_invalid("%s: events must be select.POLLIN, select.POLLOUT or both; got %ld",
                      signature.name, events);
        return false;
    }
    *out = (int)events;
    return true;
}

/* Read into a bytes object of `size` bytes, then cut it to what came. */
template <class Call>
PyObject *read_bytes(const Handle *self, const Signature &signature, Py_ssize_t size, Call call)
{
    PyObject *bytes = PyBytes_FromStringAndSize(nullptr, size);
    long result;

    if (!bytes)
        return nullptr;
    result = blocking([&] { return (long)call(PyBytes_AS_STRING(bytes), (size_t)size); });
    if (__builtin_expect(result < 0, 0)) {
        Py_DECREF(bytes);
        return raise(result, signature.name, self);
    }
    if (result != size)
        _PyBytes_Resize(&bytes, result);
    return bytes;
}

/* ---- methods -------------------------------------------------------------------------------- */

PyObject *method_read(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"read", n_timeout, 0};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    Py_ssize_t n = READ_DEFAULT;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) || !length(signature, "n", given[0], &n) ||
        !deadline(self, given[1], &until))
        return nullptr;
    if (n > (Py_ssize_t)HAL_LENGTH_MAX)
        n = HAL_LENGTH_MAX;
    return read_bytes(self, signature, n, [&](char *buf, size_t size) {
        return hal_read(number(self), buf, size, until);
    });
}

PyObject *method_read_exact(PyObject *object, PyObject *const *args, Py_ssize_t count,
                            PyObject *keywords)
{
    static const Signature signature = {"read_exact", n_timeout, 1};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    Py_ssize_t n = 0;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) || !length(signature, "n", given[0], &n) ||
        !deadline(self, given[1], &until))
        return nullptr;
    return read_bytes(self, signature, n, [&](char *buf, size_t size) {
        return hal_read_exact(number(self), buf, size, until);
    });
}

PyObject *method_read_into(PyObject *object, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords)
{
    static const Signature signature = {"read_into", buffer_timeout, 1};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    Memory memory;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[1], &until) ||
        !memory.writable(signature.name, given[0]))
        return nullptr;
    result = blocking(
        [&] { return (long)hal_read(number(self), memory.data, (size_t)memory.size, until); });
    return count_or_raise(self, signature.name, result);
}

PyObject *method_write(PyObject *object, PyObject *const *args, Py_ssize_t count,
                       PyObject *keywords)
{
    static const Signature signature = {"write", buffer_timeout, 1};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    Memory memory;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[1], &until) ||
        !memory.readable(signature.name, given[0]))
        return nullptr;
    result = blocking(
        [&] { return (long)hal_write(number(self), memory.data, (size_t)memory.size, until); });
    return count_or_raise(self, signature.name, result);
}

/* hal_read_until() into a bytes object that fits. What the call returned; a line goes to `out`. */
long read_line(const Handle *self, const Memory &delimiter, Py_ssize_t size, hal_deadline until,
               PyObject **out)
{
    char scratch[SCRATCH];
    auto call = [&](char *buf, Py_ssize_t room) {
        return blocking([&] {
            return (long)hal_read_until(number(self), buf, (size_t)room, delimiter.data,
                                        (size_t)delimiter.size, until);
        });
    };
    long result = call(scratch, size < SCRATCH ? size : SCRATCH);

    if (result >= 0) {
        *out = PyBytes_FromStringAndSize(scratch, result);
        return *out ? result : RAISED;
    }
    if (result != -EMSGSIZE || size <= SCRATCH)
        return result;
    *out = PyBytes_FromStringAndSize(nullptr, size);
    if (!*out)
        return RAISED;
    result = call(PyBytes_AS_STRING(*out), size);
    if (result < 0)
        Py_CLEAR(*out);
    else
        _PyBytes_Resize(out, result);
    return result;
}

PyObject *method_read_until(PyObject *object, PyObject *const *args, Py_ssize_t count,
                            PyObject *keywords)
{
    static const Signature signature = {"read_until", until_timeout, 0};
    Handle *self = as_handle(object);
    PyObject *given[3] = {}, *line = nullptr;
    Py_ssize_t size = READ_DEFAULT;
    Memory delimiter;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) ||
        !length(signature, "size", given[1], &size) || !deadline(self, given[2], &until))
        return nullptr;
    delimiter.data = const_cast<char *>("\n");
    delimiter.size = 1;
    if (given[0] && !delimiter.readable(signature.name, given[0]))
        return nullptr;
    result = read_line(self, delimiter, size, until, &line);
    return result < 0 ? raise(result, signature.name, self) : line;
}

/* The rest of a device that has come to its end, as a file's last line has no newline either. */
PyObject *last_line(const Handle *self, const Signature &signature, Py_ssize_t size)
{
    long left = hal_pending(number(self));

    if (left < 0)
        return raise(left, signature.name, self);
    return read_bytes(self, signature, left < size ? left : size, [&](char *buf, size_t room) {
        return room ? hal_read(number(self), buf, room, HAL_NOWAIT) : 0;
    });
}

PyObject *line_or_rest(const Handle *self, const Signature &signature, Py_ssize_t size,
                       hal_deadline until)
{
    Memory newline;
    PyObject *line = nullptr;
    long result;

    newline.data = const_cast<char *>("\n");
    newline.size = 1;
    result = read_line(self, newline, size, until, &line);
    if (result == -ENODATA)
        return last_line(self, signature, size);
    return result < 0 ? raise(result, signature.name, self) : line;
}

PyObject *method_readline(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const Signature signature = {"readline", size_timeout, 0};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    Py_ssize_t size = READ_DEFAULT;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) ||
        !length(signature, "size", given[0], &size) || !deadline(self, given[1], &until))
        return nullptr;
    return line_or_rest(self, signature, size, until);
}

PyObject *iterate(PyObject *object)
{
    static const Signature signature = {"readline", size_timeout, 0};
    Handle *self = as_handle(object);
    PyObject *line = line_or_rest(self, signature, READ_DEFAULT, handle_deadline(self));

    if (line && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

PyObject *method_poll(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"poll", events_timeout, 0};
    Handle *self = as_handle(object);
    PyObject *given[2] = {};
    int events = POLLIN;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) ||
        (given[0] && !poll_events(signature, given[0], &events)) ||
        !deadline(self, given[1], &until))
        return nullptr;
    return count_or_raise(self, signature.name,
                          blocking([&] { return (long)hal_poll(number(self), events, until); }));
}

PyObject *method_fileno(PyObject *object, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords)
{
    static const Signature signature = {"fileno", events_only, 0};
    Handle *self = as_handle(object);
    PyObject *given[1] = {};
    int events = POLLIN;

    if (!bind(signature, args, count, keywords, given) ||
        (given[0] && !poll_events(signature, given[0], &events)))
        return nullptr;
    return count_or_raise(self, signature.name, hal_fd(number(self), events));
}

PyObject *method_cancel(PyObject *object, PyObject *)
{
    Handle *self = as_handle(object);
    long result = blocking([&] { return (long)hal_cancel(number(self)); });

    if (result < 0)
        return raise(result, "cancel", self);
    Py_RETURN_NONE;
}

PyObject *method_close(PyObject *object, PyObject *)
{
    Handle *self = as_handle(object);
    long result;

    if (self->closed.exchange(true))
        Py_RETURN_NONE;
    result = blocking([&] { return (long)hal_close(number(self)); });
    if (result < 0 && result != -EBADF && result != -ESTALE)
        return raise(result, "close", self);
    Py_RETURN_NONE;
}

/* ---- properties ----------------------------------------------------------------------------- */

PyObject *get_pending(PyObject *self, void *)
{
    return count_or_raise(as_handle(self), "pending", hal_pending(number(as_handle(self))));
}

PyObject *get_closed(PyObject *self, void *)
{
    return PyBool_FromLong(as_handle(self)->closed.load());
}

PyObject *get_handle(PyObject *self, void *)
{
    return PyLong_FromLongLong(number(as_handle(self)));
}

PyObject *get_uri(PyObject *self, void *)
{
    Py_INCREF(as_handle(self)->uri);
    return as_handle(self)->uri;
}

PyObject *get_driver(PyObject *self, void *)
{
    Py_INCREF(as_handle(self)->driver);
    return as_handle(self)->driver;
}

PyObject *get_timeout(PyObject *self, void *)
{
    return timeout_format(as_handle(self)->timeout.load(std::memory_order_relaxed));
}

int set_timeout(PyObject *self, PyObject *value, void *)
{
    int64_t ns;

    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "timeout cannot be deleted");
        return -1;
    }
    if (!timeout_parse(value, &ns))
        return -1;
    as_handle(self)->timeout.store(ns, std::memory_order_relaxed);
    return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

PyObject *refuse_new(PyTypeObject *type, PyObject *, PyObject *)
{
    PyErr_Format(PyExc_TypeError, "%s is not made directly: open a device with hal.open(uri)",
                 type->tp_name);
    return nullptr;
}

int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* The last reference goes while the device is open: say so, and close it. In a forked child, or
 * when somebody else closed the handle, there is nothing to do and nothing to say. */
void finalize(PyObject *object)
{
    Handle *self = as_handle(object);
    PyObject *type, *value, *trace;

    if (!self->uri || self->closed.exchange(true) || hal_pending(number(self)) < 0)
        return;
    PyErr_Fetch(&type, &value, &trace);
    if (PyErr_ResourceWarning(object, 1, "unclosed device \"%U\": close it, or use 'with'",
                              self->uri))
        PyErr_WriteUnraisable(object);
    Py_BEGIN_ALLOW_THREADS;
    hal_close(number(self));
    Py_END_ALLOW_THREADS;
    PyErr_Restore(type, value, trace);
}

void dealloc(PyObject *object)
{
    Handle *self = as_handle(object);
    PyTypeObject *type = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->uri);
    Py_XDECREF(self->driver);
    type->tp_free(object);
    Py_DECREF(type);
}

PyMethodDef methods[] = {
    fast_method("read", method_read,
                "read($self, n=65536, timeout=...)\n--\n\n"
                "Read what is there, at least one byte and at most n.\n\n"
                "Returns:\n    The bytes; b\"\" when the device has come to its end.\n\n"
                "Raises:\n    Timeout, Unplugged, Cancelled, Closed: what had come is kept."),
    fast_method("read_into", method_read_into,
                "read_into($self, buffer, timeout=...)\n--\n\n"
                "read() into any writable buffer, without a copy.\n\n"
                "Returns:\n    How many bytes came; 0 at the end of the device."),
    fast_method("read_exact", method_read_exact,
                "read_exact($self, n, timeout=...)\n--\n\n"
                "Read exactly n bytes.\n\n"
                "Raises:\n    Timeout: what had come is kept for the next read.\n"
                "    Error: with errno ENODATA, the device came to its end before."),
    fast_method("read_until", method_read_until,
                "read_until($self, delimiter=b\"\\n\", size=65536, timeout=...)\n--\n\n"
                "Read up to and with the delimiter (1 to 16 bytes).\n\n"
                "Raises:\n    InvalidArgument: with errno EMSGSIZE, size bytes hold no\n"
                "        delimiter; they are kept.\n"
                "    Error: with errno ENODATA, the device came to its end before."),
    fast_method(
        "readline", method_readline,
        "readline($self, size=65536, timeout=...)\n--\n\n"
        "Read one line, its newline included.\n\n"
        "Returns:\n    The line; at the end of the device what is left of one, then b\"\"."),
    fast_method("write", method_write,
                "write($self, buffer, timeout=...)\n--\n\n"
                "Write any buffer, without a copy.\n\n"
                "Returns:\n    How many bytes the driver took: all, or fewer when the timeout, a\n"
                "    cancel, a signal or an error came after a part."),
    fast_method("poll", method_poll,
                "poll($self, events=1, timeout=...)\n--\n\n"
                "Wait until a read (POLLIN) or a write (POLLOUT) would do something at once.\n\n"
                "Returns:\n    The events that are true, as select.poll() gives them."),
    fast_method("fileno", method_fileno,
                "fileno($self, events=1)\n--\n\n"
                "The descriptor that becomes readable (POLLIN) or writable (POLLOUT).\n\n"
                "It stays the library's: never read, write or close it. Bytes that are buffered\n"
                "(see pending) do not make it readable.\n\n"
                "Raises:\n    Unsupported: the device has none."),
    fast_method(
        "transfer", handle_transfer,
        "transfer($self, segments, timeout=...)\n--\n\n"
        "Exchange several segments as one transaction (I2C combined transfer, SPI message).\n\n"
        "Args:\n    segments: hal.Segment tuples, 1 to 1024; a driver may take fewer.\n\n"
        "Returns:\n    What came, one entry for every segment with an rx: bytes where rx is a\n"
        "    length, rx itself where it is a buffer."),
    fast_method("control", handle_control,
                "control($self, request, buffer=b\"\", timeout=...)\n--\n\n"
                "Do something only this class of device can do.\n\n"
                "Args:\n    request: Its number, from the header of the device's class.\n"
                "    buffer: Its flat argument. A writable buffer is changed in place; of a\n"
                "        read-only one a copy is passed, and the answer in it is dropped.\n\n"
                "Returns:\n    0 or a count, as the request says."),
    fast_method("load", handle_load, handle_load_doc),
    fast_method("store", handle_store, handle_store_doc),
    fast_method("update", handle_update, handle_update_doc),
    fast_method("read_at", handle_read_at,
                "read_at($self, n, offset, timeout=...)\n--\n\n"
                "Read a block at an offset.\n\n"
                "Returns:\n    The bytes; fewer than n at the device's end."),
    fast_method("write_at", handle_write_at,
                "write_at($self, buffer, offset, timeout=...)\n--\n\n"
                "Write any buffer at an offset.\n\n"
                "Returns:\n    How many bytes were written; fewer at the device's end."),
    fast_method(
        "map", handle_map,
        "map($self, offset=0, length=0, *, write=True, write_combine=False, sync=False)\n"
        "--\n\n"
        "Map a part of the device into this process; length 0: the rest of it.\n\n"
        "Args:\n    write_combine: For prefetchable PCI memory.\n"
        "    sync: For persistent memory: stores last once flushed (MAP_SYNC).\n\n"
        "Returns:\n    A Mapping, for numpy.frombuffer() and memoryview(). It outlives the\n"
        "    device, and is unmapped when nothing refers to it any more."),
    {"cancel", method_cancel, METH_NOARGS,
     "cancel($self)\n--\n\nEnd every call that waits in this device now; it raises Cancelled."},
    {"close", method_close, METH_NOARGS,
     "close($self)\n--\n\nClose the device; calls that wait in other threads raise Cancelled.\n\n"
     "Closing twice does nothing, nor does closing in a forked child: there it is closed already."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"pending", get_pending, nullptr, "Bytes buffered in the library, read without a system call.",
     nullptr},
    {"closed", get_closed, nullptr, "Whether close() was called.", nullptr},
    {"handle", get_handle, nullptr, "The number of the device in the C API, for hal._abi.",
     nullptr},
    {"uri", get_uri, nullptr, "What was opened, logical names resolved.", nullptr},
    {"driver", get_driver, nullptr, "The driver's name.", nullptr},
    {"timeout", get_timeout, set_timeout,
     "Seconds after which calls without a timeout of their own give up; None: never.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char *>("An open device: the fast part of hal.Device.")},
    {Py_tp_new, reinterpret_cast<void *>(refuse_new)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_iter, reinterpret_cast<void *>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void *>(iterate)},
    {Py_tp_traverse, reinterpret_cast<void *>(traverse)},
    {Py_tp_finalize, reinterpret_cast<void *>(finalize)},
    {Py_tp_dealloc, reinterpret_cast<void *>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {
    "hal._core.Handle",
    sizeof(Handle),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    slots,
};

} // namespace

PyObject *handle_type_new(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, nullptr);

    handle_type = reinterpret_cast<PyTypeObject *>(type);
    return type;
}

Handle *handle_of(PyObject *self)
{
    if (PyObject_TypeCheck(self, handle_type))
        return as_handle(self);
    PyErr_Format(PyExc_TypeError, "a device is needed, not '%.100s'", Py_TYPE(self)->tp_name);
    return nullptr;
}

hal_deadline handle_deadline(const Handle *self)
{
    return timeout_deadline(self->timeout.load(std::memory_order_relaxed));
}

PyObject *handle_wrap(PyTypeObject *type, hal_handle dev, const hal_description &facts)
{
    PyObject *uri =
        PyUnicode_DecodeUTF8(facts.uri, (Py_ssize_t)strlen(facts.uri), "surrogateescape");
    PyObject *driver = PyUnicode_FromString(facts.driver);
    PyObject *object = uri && driver ? type->tp_alloc(type, 0) : nullptr;

    if (!object) {
        Py_XDECREF(uri);
        Py_XDECREF(driver);
        blocking([&] { return (long)hal_close(dev); });
        return nullptr;
    }
    Handle *self = as_handle(object);
    self->handle.store(dev);
    self->timeout.store(FOREVER);
    self->closed.store(false);
    self->uri = uri;
    self->driver = driver;
    self->direct = !strncmp(facts.uri, facts.driver, strlen(facts.driver)) &&
                   facts.uri[strlen(facts.driver)] == ':';
    return object;
}
