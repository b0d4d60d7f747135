/* SPDX-License-Identifier: Apache-2.0 */
/* Classes between hal._core.Handle and the faces of hal that have fast methods of their own. */
#ifndef HAL_BINDINGS_FACES_H
#define HAL_BINDINGS_FACES_H

#include "arguments.h"

/* A row of methods in CPython's fast calling convention, for a function of that name. */
#define FAST_METHOD(name, doc)                                                                     \
    {                                                                                              \
#name, reinterpret_cast < PyCFunction>(reinterpret_cast <void (*)()>(name)),               \
            METH_FASTCALL | METH_KEYWORDS, doc                                                     \
    }

/* Rows of methods, ended by a NULL row. */
extern PyMethodDef i2c_methods[], register_methods[], spi_methods[];

/* Add the classes to hal._core. False with an exception set. */
bool faces_add(PyObject *module, PyObject *handle);
/* Give a face the fast methods it inherits for its own: CPython takes its short way to a method
 * written in C only where the object is of the very class that the method is of. */
bool faces_own_methods(PyObject *face);

#endif
