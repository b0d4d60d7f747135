/* SPDX-License-Identifier: Apache-2.0 */
/* hal._core.I2cHandle: registers, and any SMBus exchange, in one crossing. */
#include "faces.h"

#include <cstring>

namespace
{

const char *const register_size_timeout[] = {"register", "register_size", "timeout", nullptr};
const char *const register_n_size_timeout[] = {"register", "n", "register_size", "timeout",
                                               nullptr};
const char *const exchange_timeout[] = {"protocol", "read", "command", "data", "timeout", nullptr};
const char *const register_value_size_timeout[] = {"register", "value", "register_size", "timeout",
                                                   nullptr};

/* A register's number, and of how many bytes it is (1 unless said otherwise). */
struct Register {
    uint32_t number = 0;
    Py_ssize_t size = 1;

    bool take(const Signature &signature, PyObject *value, PyObject *bytes)
    {
        unsigned long taken = PyLong_AsUnsignedLong(value);

        if (taken == (unsigned long)-1 && PyErr_Occurred()) {
            if (!PyErr_ExceptionMatches(PyExc_OverflowError))
                return false;
            PyErr_Clear();
        }
        if (taken > UINT32_MAX) {
            raise_invalid("%s: a register's number is within 0..0xffffffff", signature.name);
            return false;
        }
        number = (uint32_t)taken;
        return length(signature, "register_size", bytes, &size);
    }
};

PyObject *read_register(PyObject *object, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords)
{
    static const Signature signature = {"read_register", register_size_timeout, 1};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[3] = {};
    Register reg;
    uint8_t value = 0;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) ||
        !reg.take(signature, given[0], given[1]) || !deadline(self, given[2], &until))
        return nullptr;
    result = blocking([&] {
        return (long)hal_i2c_read_register(self->handle.load(), reg.number, (size_t)reg.size,
                                           &value, 1, until);
    });
    return result < 0 ? raise(result, signature.name, self) : PyLong_FromLong(value);
}

PyObject *read_registers(PyObject *object, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords)
{
    static const Signature signature = {"read_registers", register_n_size_timeout, 2};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[4] = {}, *bytes;
    Register reg;
    Py_ssize_t n = 0;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) ||
        !reg.take(signature, given[0], given[2]) || !length(signature, "n", given[1], &n) ||
        !deadline(self, given[3], &until) || !(bytes = PyBytes_FromStringAndSize(nullptr, n)))
        return nullptr;
    result = blocking([&] {
        return (long)hal_i2c_read_register(self->handle.load(), reg.number, (size_t)reg.size,
                                           PyBytes_AS_STRING(bytes), (size_t)n, until);
    });
    if (result >= 0)
        return bytes;
    Py_DECREF(bytes);
    return raise(result, signature.name, self);
}

/* One byte as a number, or any bytes. */
bool take_value(const Signature &signature, PyObject *value, uint8_t *byte, Memory *memory)
{
    long number;

    if (!PyLong_Check(value))
        return memory->readable(signature.name, value);
    number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred())
        return false;
    if (number < 0 || number > UINT8_MAX) {
        raise_invalid("%s: a register holds 0..255; got %ld (give bytes for several)",
                      signature.name, number);
        return false;
    }
    *byte = (uint8_t)number;
    memory->data = byte;
    memory->size = 1;
    return true;
}

PyObject *write_register(PyObject *object, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords)
{
    static const Signature signature = {"write_register", register_value_size_timeout, 2};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[4] = {};
    Register reg;
    Memory memory;
    uint8_t byte = 0;
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) ||
        !reg.take(signature, given[0], given[2]) || !deadline(self, given[3], &until) ||
        !take_value(signature, given[1], &byte, &memory))
        return nullptr;
    result = blocking([&] {
        return (long)hal_i2c_write_register(self->handle.load(), reg.number, (size_t)reg.size,
                                            memory.data, (size_t)memory.size, until);
    });
    if (result < 0)
        return raise(result, signature.name, self);
    Py_RETURN_NONE;
}

/* A byte of an SMBus exchange. */
bool take_byte(const char *parameter, PyObject *value, uint8_t *out)
{
    long number = PyLong_AsLong(value);

    if (number == -1 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return false;
    if (number < 0 || number > UINT8_MAX) {
        PyErr_Clear();
        raise_invalid("smbus: %s is within 0..255", parameter);
        return false;
    }
    *out = (uint8_t)number;
    return true;
}

bool take_exchange(PyObject *const *given, hal_i2c_smbus *exchange)
{
    Memory data;

    if (!take_byte("the protocol", given[0], &exchange->protocol) ||
        !take_byte("read", given[1], &exchange->read) ||
        !take_byte("a command", given[2], &exchange->command) || !data.readable("smbus", given[3]))
        return false;
    if (data.size > HAL_SMBUS_BLOCK_MAX) {
        raise_invalid("smbus: a block has 1 to %d bytes; got %zd", HAL_SMBUS_BLOCK_MAX, data.size);
        return false;
    }
    exchange->length = (uint8_t)data.size;
    memcpy(exchange->data, data.data, (size_t)data.size);
    return true;
}

PyObject *smbus(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const Signature signature = {"smbus", exchange_timeout, 4};
    Handle *self = reinterpret_cast<Handle *>(object);
    PyObject *given[5] = {};
    hal_i2c_smbus exchange = {};
    hal_deadline until;
    long result;

    if (!bind(signature, args, count, keywords, given) || !deadline(self, given[4], &until) ||
        !take_exchange(given, &exchange))
        return nullptr;
    result = blocking([&] {
        return hal_control(self->handle.load(), HAL_I2C_SMBUS, &exchange, sizeof(exchange), until);
    });
    return result < 0 ? raise(result, signature.name, self)
                      : PyBytes_FromStringAndSize((const char *)exchange.data, result);
}

} // namespace

PyMethodDef i2c_methods[] = {
    FAST_METHOD(
        read_register,
        "read_register($self, register, register_size=1, timeout=...)\n--\n\n"
        "Read one byte from a register: its number written, repeated start, a byte read.\n\n"
        "Args:\n    register: Its number.\n"
        "    register_size: Bytes of that number on the wire, 1 to 4, high one first.\n\n"
        "Returns:\n    0 to 255."),
    FAST_METHOD(read_registers,
                "read_registers($self, register, n, register_size=1, timeout=...)\n--\n\n"
                "Read n bytes, beginning at a register, in one transaction."),
    FAST_METHOD(smbus,
                "smbus($self, protocol, read, command, data, timeout=...)\n--\n\n"
                "One SMBus exchange; the methods smbus_... of hal.I2c are easier to read.\n\n"
                "Args:\n    protocol: enum hal_i2c_protocol.\n"
                "    read: 1 to read, 0 to write; calls do both.\n"
                "    command: 0 to 255.\n"
                "    data: Bytes to write; for reads of I2C blocks as many as are to come.\n\n"
                "Returns:\n    The bytes that came."),
    FAST_METHOD(write_register,
                "write_register($self, register, value, register_size=1, timeout=...)\n--\n\n"
                "Write to a register, in one message.\n\n"
                "Args:\n    register: Its number.\n"
                "    value: 0 to 255, or up to 256 bytes for the registers from there on.\n"
                "    register_size: Bytes of the number on the wire, 1 to 4, high one first."),
    {nullptr, nullptr, 0, nullptr},
};
