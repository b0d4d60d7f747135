/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of hal._core that use pybind11 share. */
#ifndef HAL_BINDINGS_MODULE_H
#define HAL_BINDINGS_MODULE_H

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string>

#include "arguments.h"

/* raise(), as a C++ exception that pybind11 hands on to Python. */
[[noreturn]] void fail(long result, const char *operation, const Handle *self = nullptr);
/* `result`, unless it is an error. */
long check(long result, const char *operation, const Handle *self = nullptr);
/* The device an argument must be. */
Handle *device(const pybind11::handle &object);
/* Text as C has it. `what` names it in the error for an embedded NUL. */
std::string text_of(const pybind11::str &text, const char *what);
pybind11::str str_of(const char *text);
/* A driver's row as the fields of hal.Attribute. */
pybind11::tuple attribute_fields(const hal_attribute &row);

/* An attribute's value for Python, and from it. */
pybind11::object value_out(const hal_value &value);
hal_value value_in(PyObject *object, const char *operation);

void bind_attributes(pybind11::module_ &m);
void bind_batch(pybind11::module_ &m);
void bind_cache(pybind11::module_ &m);
void bind_registry(pybind11::module_ &m);

#endif
