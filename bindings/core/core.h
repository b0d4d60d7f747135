/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of hal._core share. */
#ifndef HAL_BINDINGS_CORE_H
#define HAL_BINDINGS_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <hal/hal.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

/* The instance of hal._core.Handle and of everything derived from it. `handle` keeps its number
 * after close(): the library never gives it to another device. */
struct Handle {
    PyObject_HEAD std::atomic<hal_handle> handle;
    std::atomic<int64_t> timeout; /* nanoseconds; FOREVER: wait until it happens */
    std::atomic<bool> closed;
    PyObject *uri;
    PyObject *driver;
    bool direct; /* the driver of the URI serves it itself: no link, no recorder is between */
};

constexpr int64_t FOREVER = INT64_MAX;

/* What a call returns when a Python exception is set already. */
constexpr long RAISED = INT64_MIN;

/* A method in CPython's fast calling convention: no tuple, no dictionary, no dispatch. */
using FastCall = PyObject *(*)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

static inline PyMethodDef fast_method(const char *name, FastCall call, const char *doc)
{
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)),
            METH_FASTCALL | METH_KEYWORDS, doc};
}

/* ---- handle.cpp ---- */

PyObject *handle_type_new(PyObject *module);
/* A new instance of `type`, owning an open device. Closes the device when it fails. */
PyObject *handle_wrap(PyTypeObject *type, hal_handle dev, const hal_description &facts);
/* The instance behind `self`; NULL with TypeError for anything else. */
Handle *handle_of(PyObject *self);
hal_deadline handle_deadline(const Handle *self);

/* ---- transfer.cpp: methods of the handle ---- */

PyObject *handle_transfer(PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords);
PyObject *handle_control(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords);

/* ---- memory.cpp: methods of the handle, and the class of what map() returns ---- */

PyObject *handle_load(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *handle_store(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *handle_update(PyObject *self, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords);
PyObject *handle_read_at(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords);
PyObject *handle_write_at(PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords);
PyObject *handle_map(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
extern const char handle_load_doc[];
extern const char handle_store_doc[];
extern const char handle_update_doc[];
PyObject *mapping_type_new(PyObject *module);

/* ---- error.cpp ---- */

/* Find the classes of hal/errors.py. Once, before anything is raised. */
bool errors_load();
/* Raise what a call that failed with `result` means: `error` is its class in hal.errors, the text
 * hal_last_error(). Always NULL. Needs the GIL, in the thread of the call. */
PyObject *raise(long result, const char *operation, const Handle *self = nullptr);
/* Raise hal.InvalidArgument with a sentence of printf form. Always NULL. */
PyObject *raise_invalid(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Remember the Python exception behind hal_last_error(): raise() makes it the __cause__. */
void blame(PyObject *exception);
/* Remember a KeyboardInterrupt that a driver written in Python got; the call returns -EINTR. */
void interrupt(PyObject *exception);
/* After -EINTR: run Python's signal handlers. False when one raised, or a driver was interrupted.
 */
bool check_signals();

/* ---- timeout.cpp ---- */

/* Seconds (float, int) or None to nanoseconds or FOREVER. False with an exception set. */
bool timeout_parse(PyObject *seconds, int64_t *out);
PyObject *timeout_format(int64_t timeout);

static inline hal_deadline timeout_deadline(int64_t timeout)
{
    return timeout == FOREVER ? HAL_FOREVER : hal_after(timeout);
}

/* Run a call of the library without the GIL; after a signal run Python's handlers and call again
 * (PEP 475). The deadline is absolute, so that no time is gained by it. */
template <class Call> static inline long blocking(Call call)
{
    for (;;) {
        PyThreadState *thread = PyEval_SaveThread();
        long result = call();
        PyEval_RestoreThread(thread);
        if (__builtin_expect(result != -EINTR, 1))
            return result;
        if (!check_signals())
            return RAISED;
    }
}

#endif
