/* SPDX-License-Identifier: Apache-2.0 */
#include "faces.h"

namespace
{

/* A class below Handle with more methods and no more state, so that a face can have it for a base
 * beside hal.Device. */
struct Fast {
    const char *name, *doc;
    PyMethodDef *methods;
    PyTypeObject *type;
} classes[] = {
    {"hal._core.I2cHandle", "An open I2C target or bus: the fast part of hal.I2c.", i2c_methods,
     nullptr},
    {"hal._core.RegisterHandle", "Open registers: the fast part of hal.Mmio.", register_methods,
     nullptr},
    {"hal._core.SpiHandle", "An open SPI chip select: the fast part of hal.Spi.", spi_methods,
     nullptr},
};

bool add(PyObject *module, PyObject *handle, Fast &fast)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, const_cast<char *>(fast.doc)},
        {Py_tp_methods, fast.methods},
        {0, nullptr},
    };
    PyType_Spec spec = {fast.name, sizeof(Handle), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                        slots};
    PyObject *bases = PyTuple_Pack(1, handle);
    PyObject *type = bases ? PyType_FromModuleAndSpec(module, &spec, bases) : nullptr;
    bool good = type && PyModule_AddType(module, reinterpret_cast<PyTypeObject *>(type)) == 0;

    Py_XDECREF(bases);
    if (good)
        fast.type = reinterpret_cast<PyTypeObject *>(type); /* kept for ever */
    else
        Py_XDECREF(type);
    return good;
}

/* Give the class the method for its own, unless it has another of that name. */
bool take_over(PyObject *face, PyMethodDef *method)
{
    PyObject *seen = PyObject_GetAttrString(face, method->ml_name);
    bool good = seen;

    if (seen && Py_IS_TYPE(seen, &PyMethodDescr_Type) &&
        reinterpret_cast<PyMethodDescrObject *>(seen)->d_method == method) {
        PyObject *own = PyDescr_NewMethod(reinterpret_cast<PyTypeObject *>(face), method);
        good = own && PyObject_SetAttrString(face, method->ml_name, own) == 0;
        Py_XDECREF(own);
    }
    Py_XDECREF(seen);
    return good;
}

} // namespace

bool faces_add(PyObject *module, PyObject *handle)
{
    for (Fast &fast : classes)
        if (!add(module, handle, fast))
            return false;
    return true;
}

bool faces_own_methods(PyObject *face)
{
    for (const Fast &fast : classes) {
        if (!PyType_IsSubtype(reinterpret_cast<PyTypeObject *>(face), fast.type))
            continue;
        for (PyMethodDef *method = fast.methods; method->ml_name; method++)
            if (!take_over(face, method))
                return false;
    }
    return true;
}
