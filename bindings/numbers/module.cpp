/* SPDX-License-Identifier: Apache-2.0 */
/* autoglm._numbers: lists of numbers in JSON, as arrays (autoglm/_numbers.pyi). */
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "numbers.h"

namespace py = pybind11;
using autoglm_numbers::read_list;

namespace
{

constexpr int CONTIGUOUS_WRITABLE = py::array::c_style | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

template <typename T> bool fill(std::string_view text, py::array &out)
{
    return read_list(text.data(), text.data() + text.size(), static_cast<T *>(out.mutable_data()),
                     size_t(out.size()));
}

bool read_numbers(const py::bytes &text, size_t begin, py::array &out)
{
    const std::string_view all = text;

    if (begin > all.size())
        throw py::value_error("numbers.read: the text ends before");
    if ((out.flags() & CONTIGUOUS_WRITABLE) != CONTIGUOUS_WRITABLE)
        throw py::value_error("numbers.read: an array that is contiguous and writable");
    const std::string_view rest = all.substr(begin);
    const py::dtype type = out.dtype();
    switch (type.byteorder() == '>' ? '\0' : type.char_()) {
    case 'f':
        return fill<float>(rest, out);
    case 'd':
        return fill<double>(rest, out);
    case 'b':
        return fill<int8_t>(rest, out);
    case 'h':
        return fill<int16_t>(rest, out);
    case 'i':
        return fill<int32_t>(rest, out);
    case 'l':
        return fill<int64_t>(rest, out);
    case 'B':
        return fill<uint8_t>(rest, out);
    case 'H':
        return fill<uint16_t>(rest, out);
    case 'I':
        return fill<uint32_t>(rest, out);
    case 'L':
        return fill<uint64_t>(rest, out);
    default:
        throw py::type_error(
            "numbers.read: an array of float32, float64 or whole numbers, in native order");
    }
}

} // namespace

PYBIND11_MODULE(_numbers, module)
{
    module.def("read", &read_numbers, py::arg("text"), py::arg("begin"), py::arg("out"));
}
