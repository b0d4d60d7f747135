/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of numbers in JSON (bindings/numbers), held against the C library's strtod and its kin.
 *
 * Input: how many numbers are wanted; then the text.
 */
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "numbers.h"

extern "C" {
#include "must.h"
}

namespace
{

float to_real(const char *text, char **end, float)
{
    return strtof(text, end);
}

double to_real(const char *text, char **end, double)
{
    return strtod(text, end);
}

template <typename T> T number(const char *text, char **end)
{
    if constexpr (std::is_floating_point_v<T>)
        return to_real(text, end, T());
    else if constexpr (std::is_signed_v<T>)
        return T(strtoll(text, end, 10));
    else
        return T(strtoull(text, end, 10));
}

template <typename T> void check(const uint8_t *data, size_t size, size_t count)
{
    std::vector<char> text(data, data + size); /* its end is the memory's */
    std::vector<T> found(count);

    if (!autoglm_numbers::read_list(text.data(), text.data() + size, found.data(), count))
        return;
    const std::string copy(text.begin(), text.end());
    const char *at = copy.c_str() + strspn(copy.c_str(), " \n\r\t");
    for (size_t index = 0; index < count; index++) {
        MUST(*at == (index ? ',' : '['));
        char *end;
        const T wanted = number<T>(at + 1, &end);
        MUST(end > at + 1);
        MUST(memcmp(&wanted, &found[index], sizeof wanted) == 0);
        at = end + strspn(end, " \n\r\t");
    }
    MUST(*at == ']' || (!count && *at == '['));
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    const size_t count = data[0] % 8;
    data++;
    size--;
    check<float>(data, size, count);
    check<double>(data, size, count);
    check<int8_t>(data, size, count);
    check<int32_t>(data, size, count);
    check<int64_t>(data, size, count);
    check<uint16_t>(data, size, count);
    check<uint64_t>(data, size, count);
    return 0;
}
