/* SPDX-License-Identifier: Apache-2.0 */
#include "faces.h"

namespace
{

/* A class below Handle with more methods and no more state, so that a face can have it for a base
 * beside hal.Device. */
bool add(PyObject *module, PyObject *handle, const char *name, const char *doc,
         PyMethodDef *methods)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, const_cast<char *>(doc)},
        {Py_tp_methods, methods},
        {0, nullptr},
    };
    PyType_Spec spec = {name, sizeof(Handle), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    PyObject *bases = PyTuple_Pack(1, handle);
    PyObject *type = bases ? PyType_FromModuleAndSpec(module, &spec, bases) : nullptr;
    bool good = type && PyModule_AddType(module, reinterpret_cast<PyTypeObject *>(type)) == 0;

    Py_XDECREF(type);
    Py_XDECREF(bases);
    return good;
}

} // namespace

bool faces_add(PyObject *module, PyObject *handle)
{
    return add(module, handle, "hal._core.I2cHandle",
               "An open I2C target or bus: the fast part of hal.I2c.", i2c_methods) &&
           add(module, handle, "hal._core.RegisterHandle",
               "Open registers: the fast part of hal.Mmio.", register_methods) &&
           add(module, handle, "hal._core.SpiHandle",
               "An open SPI chip select: the fast part of hal.Spi.", spi_methods);
}
