/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that are memory: registers and blocks as methods of the handle, and hal._core.Mapping,
 * which owns a mapping and gives it out by the buffer protocol. */
#include "faces.h"

namespace
{

PyTypeObject *mapping_type;

Handle *as_handle(PyObject *self)
{
    return reinterpret_cast<Handle *>(self);
}

const char *const load_parameters[] = {"offset", "width", nullptr};
const char *const store_parameters[] = {"offset", "value", "width", nullptr};
const char *const update_parameters[] = {"offset", "mask", "value", "width", nullptr};
const char *const read_at_parameters[] = {"n", "offset", "timeout", nullptr};
const char *const write_at_parameters[] = {"buffer", "offset", "timeout", nullptr};
const char *const map_parameters[] = {"offset",        "length", "write",
                                      "write_combine", "sync",   nullptr};

} // namespace

/* ---- registers ------------------------------------------------------------------------------ */

namespace
{

/* How a call is made: without the GIL, as everywhere; or with it, for devices of which no control
 * call takes long or needs the GIL: their own driver's, not those of another machine. Giving it up
 * and taking it back costs more than a load. */
struct Released {
    template <class Call> static long run(const Handle *, Call call)
    {
        return blocking(call);
    }
};

struct Held {
    template <class Call> static long run(const Handle *self, Call call)
    {
        if (__builtin_expect(!self->direct, 0))
            return blocking(call);
        long result = call();
        return __builtin_expect(result == -EINTR, 0) ? blocking(call) : result;
    }
};

template <class Way> PyObject *load_from(Handle *self, uint64_t offset, unsigned width)
{
    uint64_t value = 0;
    long result =
        Way::run(self, [&] { return (long)hal_load(self->handle.load(), offset, width, &value); });

    return __builtin_expect(result < 0, 0) ? raise(result, "load", self)
                                           : PyLong_FromUnsignedLongLong(value);
}

template <class Way>
PyObject *store_to(Handle *self, uint64_t offset, unsigned width, uint64_t value)
{
    long result;

    if (!fits("store", "value", value, width))
        return nullptr;
    result =
        Way::run(self, [&] { return (long)hal_store(self->handle.load(), offset, width, value); });
    if (__builtin_expect(result < 0, 0))
        return raise(result, "store", self);
    Py_RETURN_NONE;
}

template <class Way>
PyObject *load(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"load", load_parameters, 1};
    PyObject *given[2] = {};
    uint64_t offset = 0;
    unsigned width = 4;

    if (!bind(signature, args, count, keywords, given) ||
        !number("load", "offset", given[0], &offset) || !access_width("load", given[1], &width))
        return nullptr;
    return load_from<Way>(as_handle(object), offset, width);
}

template <class Way>
PyObject *store(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"store", store_parameters, 2};
    PyObject *given[3] = {};
    uint64_t offset = 0, value = 0;
    unsigned width = 4;

    if (!bind(signature, args, count, keywords, given) ||
        !number("store", "offset", given[0], &offset) ||
        !number("store", "value", given[1], &value) || !access_width("store", given[2], &width))
        return nullptr;
    return store_to<Way>(as_handle(object), offset, width, value);
}

template <class Way>
PyObject *update(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"update", update_parameters, 3};
    Handle *self = as_handle(object);
    PyObject *given[4] = {};
    uint64_t offset = 0, mask = 0, value = 0, old = 0;
    unsigned width = 4;
    long result;

    if (!bind(signature, args, count, keywords, given) ||
        !number("update", "offset", given[0], &offset) ||
        !number("update", "mask", given[1], &mask) ||
        !number("update", "value", given[2], &value) || !access_width("update", given[3], &width) ||
        !fits("update", "mask", mask, width) || !fits("update", "value", value, width))
        return nullptr;
    result = Way::run(self, [&] {
        return (long)hal_update(self->handle.load(), offset, width, mask, value, &old);
    });
    return result < 0 ? raise(result, "update", self) : PyLong_FromUnsignedLongLong(old);
}

/* read8() ... read64(), write8() ... write64(). */
template <unsigned WIDTH>
PyObject *read_fixed(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const parameters[] = {"offset", nullptr};
    static const Signature signature = {"read", parameters, 1};
    PyObject *given[1] = {};
    uint64_t offset = 0;

    if (!bind(signature, args, count, keywords, given) ||
        !number("load", "offset", given[0], &offset))
        return nullptr;
    return load_from<Held>(as_handle(object), offset, WIDTH);
}

template <unsigned WIDTH>
PyObject *write_fixed(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const parameters[] = {"offset", "value", nullptr};
    static const Signature signature = {"write", parameters, 2};
    PyObject *given[2] = {};
    uint64_t offset = 0, value = 0;

    if (!bind(signature, args, count, keywords, given) ||
        !number("store", "offset", given[0], &offset) ||
        !number("store", "value", given[1], &value))
        return nullptr;
    return store_to<Held>(as_handle(object), offset, WIDTH, value);
}

} // namespace

PyObject *handle_load(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return load<Released>(self, args, count, keywords);
}

PyObject *handle_store(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return store<Released>(self, args, count, keywords);
}

PyObject *handle_update(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return update<Released>(self, args, count, keywords);
}

const char handle_load_doc[] =
    "load($self, offset, width=4)\n--\n\n"
    "Read a register: one access of exactly width (1, 2, 4 or 8) bytes.\n\n"
    "Args:\n    offset: Bytes from the device's start, a multiple of the width.\n\n"
    "Returns:\n    What was read, 0 or more.";

const char handle_store_doc[] =
    "store($self, offset, value, width=4)\n--\n\n"
    "Write a register: one access of exactly width (1, 2, 4 or 8) bytes.";

const char handle_update_doc[] =
    "update($self, offset, mask, value, width=4)\n--\n\n"
    "Change the bits of a register that are set in mask, and leave the others.\n\n"
    "No other register call on this device comes between the read and the write.\n\n"
    "Returns:\n    What it held before.";

#define READ_DOC(bits)                                                                             \
    "read" #bits "($self, offset)\n--\n\nRead a register of " #bits " bits: one access."
#define WRITE_DOC(bits)                                                                            \
    "write" #bits "($self, offset, value)\n--\n\nWrite a register of " #bits " bits: one access."

PyMethodDef register_methods[] = {
    fast_method("load", load<Held>, handle_load_doc),
    fast_method("store", store<Held>, handle_store_doc),
    fast_method("update", update<Held>, handle_update_doc),
    fast_method("read8", read_fixed<1>, READ_DOC(8)),
    fast_method("read16", read_fixed<2>, READ_DOC(16)),
    fast_method("read32", read_fixed<4>, READ_DOC(32)),
    fast_method("read64", read_fixed<8>, READ_DOC(64)),
    fast_method("write8", write_fixed<1>, WRITE_DOC(8)),
    fast_method("write16", write_fixed<2>, WRITE_DOC(16)),
    fast_method("write32", write_fixed<4>, WRITE_DOC(32)),
    fast_method("write64", write_fixed<8>, WRITE_DOC(64)),
    {nullptr, nullptr, 0, nullptr},
};

/* ---- blocks --------------------------------------------------------------------------------- */

PyObject *handle_read_at(PyObject *object, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords)
{
    static const Signature signature = {"read_at", read_at_parameters, 2};
    Handle *self = as_handle(object);
    PyObject *given[3] = {}, *bytes;
    Py_ssize_t n = 0;
    uint64_t offset = 0;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) || !length(signature, "n", given[0], &n) ||
        !number("read_at", "offset", given[1], &offset) || !deadline(self, given[2], &until) ||
        !(bytes = PyBytes_FromStringAndSize(nullptr, n)))
        return nullptr;
    result = blocking([&] {
        return (long)hal_read_at(self->handle.load(), PyBytes_AS_STRING(bytes), (size_t)n, offset,
                                 until);
    });
    if (result < 0) {
        Py_DECREF(bytes);
        return raise(result, "read_at", self);
    }
    if (result != n)
        _PyBytes_Resize(&bytes, result);
    return bytes;
}

PyObject *handle_write_at(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const Signature signature = {"write_at", write_at_parameters, 2};
    Handle *self = as_handle(object);
    PyObject *given[3] = {};
    Memory memory;
    uint64_t offset = 0;
    hal_deadline until;

    if (!bind(signature, args, count, keywords, given) ||
        !number("write_at", "offset", given[1], &offset) || !deadline(self, given[2], &until) ||
        !memory.readable("write_at", given[0]))
        return nullptr;
    return count_or_raise(self, "write_at", blocking([&] {
                              return (long)hal_write_at(self->handle.load(), memory.data,
                                                        (size_t)memory.size, offset, until);
                          }));
}

/* ---- mappings ------------------------------------------------------------------------------- */

namespace
{

struct Mapping {
    PyObject_HEAD hal_mapping memory;
    Py_ssize_t exports; /* views that are out */
};

Mapping *as_mapping(PyObject *self)
{
    return reinterpret_cast<Mapping *>(self);
}

bool flag(PyObject *value, uint32_t bit, bool initial, uint32_t *flags)
{
    int truth = value ? PyObject_IsTrue(value) : initial;

    if (truth > 0)
        *flags |= bit;
    return truth >= 0;
}

bool check_open(const Mapping *self)
{
    if (self->memory.base)
        return true;
    PyErr_SetString(PyExc_ValueError, "the mapping is closed");
    return false;
}

int get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    Mapping *self = as_mapping(object);
    bool readonly = !(self->memory.flags & HAL_MAP_WRITE);

    view->obj = nullptr;
    if (!check_open(self) || PyBuffer_FillInfo(view, object, self->memory.address,
                                               (Py_ssize_t)self->memory.length, readonly, flags))
        return -1;
    self->exports++;
    return 0;
}

void release_buffer(PyObject *object, Py_buffer *)
{
    as_mapping(object)->exports--;
}

Py_ssize_t mapping_length(PyObject *self)
{
    return (Py_ssize_t)as_mapping(self)->memory.length;
}

PyObject *mapping_close(PyObject *object, PyObject *)
{
    Mapping *self = as_mapping(object);

    if (self->exports) {
        PyErr_Format(PyExc_BufferError,
                     "close: %zd view%s of the mapping %s still in use (arrays, memoryviews)",
                     self->exports, self->exports == 1 ? "" : "s",
                     self->exports == 1 ? "is" : "are");
        return nullptr;
    }
    if (self->memory.base)
        hal_unmap(&self->memory);
    Py_RETURN_NONE;
}

PyObject *mapping_enter(PyObject *self, PyObject *)
{
    Py_INCREF(self);
    return self;
}

PyObject *mapping_exit(PyObject *self, PyObject *)
{
    return mapping_close(self, nullptr);
}

void mapping_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (as_mapping(object)->memory.base)
        hal_unmap(&as_mapping(object)->memory);
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject *mapping_repr(PyObject *object)
{
    const hal_mapping *memory = &as_mapping(object)->memory;

    if (!memory->base)
        return PyUnicode_FromString("<hal mapping closed>");
    return PyUnicode_FromFormat("<hal mapping of %zu bytes at %p%s>", memory->length,
                                memory->address,
                                memory->flags & HAL_MAP_WRITE ? "" : ", read-only");
}

PyObject *get_address(PyObject *self, void *)
{
    return PyLong_FromVoidPtr(as_mapping(self)->memory.address);
}

PyObject *get_offset(PyObject *self, void *)
{
    return PyLong_FromUnsignedLongLong(as_mapping(self)->memory.offset);
}

PyObject *get_flags(PyObject *self, void *)
{
    return PyLong_FromUnsignedLong(as_mapping(self)->memory.flags);
}

PyObject *get_closed(PyObject *self, void *)
{
    return PyBool_FromLong(!as_mapping(self)->memory.base);
}

PyMethodDef methods[] = {
    {"close", mapping_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Unmap now. Twice does nothing.\n\n"
     "Raises:\n    BufferError: an array or memoryview of it is still in use."},
    {"__enter__", mapping_enter, METH_NOARGS, nullptr},
    {"__exit__", mapping_exit, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"address", get_address, nullptr, "Where it is in this process; 0 when closed.", nullptr},
    {"offset", get_offset, nullptr, "Bytes from the device's start.", nullptr},
    {"flags", get_flags, nullptr, "enum hal_map_flag: what was got.", nullptr},
    {"closed", get_closed, nullptr, "Whether close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc,
     const_cast<char *>(
         "Memory of a device in this process, for numpy.frombuffer() and memoryview().\n\n"
         "It outlives the device, and is unmapped when nothing refers to it any more.")},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_repr, reinterpret_cast<void *>(mapping_repr)},
    {Py_tp_dealloc, reinterpret_cast<void *>(mapping_dealloc)},
    {Py_sq_length, reinterpret_cast<void *>(mapping_length)},
    {Py_bf_getbuffer, reinterpret_cast<void *>(get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void *>(release_buffer)},
    {0, nullptr},
};

PyType_Spec spec = {
    "hal._core.Mapping",
    sizeof(Mapping),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    slots,
};

} // namespace

PyObject *mapping_type_new(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, nullptr);

    mapping_type = reinterpret_cast<PyTypeObject *>(type);
    return type;
}

PyObject *handle_map(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"map", map_parameters, 0};
    Handle *self = as_handle(object);
    PyObject *given[5] = {}, *out;
    uint64_t offset = 0;
    Py_ssize_t size = 0;
    uint32_t flags = HAL_MAP_READ;
    long result;

    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "map() takes at most 2 positional arguments (%zd given)",
                     count);
        return nullptr;
    }
    if (!bind(signature, args, count, keywords, given) ||
        !number("map", "offset", given[0], &offset) ||
        !length(signature, "length", given[1], &size) ||
        !flag(given[2], HAL_MAP_WRITE, true, &flags) ||
        !flag(given[3], HAL_MAP_WRITE_COMBINE, false, &flags) ||
        !flag(given[4], HAL_MAP_SYNC, false, &flags) ||
        !(out = mapping_type->tp_alloc(mapping_type, 0)))
        return nullptr;
    result = blocking([&] {
        return (long)hal_map(self->handle.load(), offset, (size_t)size, flags,
                             &as_mapping(out)->memory);
    });
    if (result >= 0)
        return out;
    as_mapping(out)->memory.base = nullptr;
    Py_DECREF(out);
    return raise(result, "map", self);
}
