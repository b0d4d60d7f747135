/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers are long where they were doubles: most of the time goes into their digits, so eight are
 * read at once (D. Lemire, "Quickly parsing eight digits", 2018). A real number of up to 19 digits
 * whose power of ten is exact in a double is one multiplication or division (W. D. Clinger, "How to
 * read floating point numbers accurately", PLDI 1990); all others are std::from_chars's.
 */
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "numbers.h"

namespace autoglm_numbers
{
namespace
{

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight_digits() and eight_value()");

constexpr ptrdiff_t MOST_DIGITS = 19; /* that any uint64_t holds */
constexpr uint64_t EXACT = UINT64_C(1) << 53;
constexpr double POWERS[] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}; /* all exact */
constexpr int MOST_POWER = 22;
constexpr ptrdiff_t MOST_EXPONENT_DIGITS = 4;
constexpr int FAR = 1 << 20; /* an exponent of more digits */

/* A number as it is written: digits * 10^exponent. */
struct Decimal {
    const char *begin;
    const char *end;
    uint64_t digits;  /* modulo 2^64 */
    ptrdiff_t length; /* how many digits, zeros in front among them */
    int exponent;
    bool negative;
    bool whole; /* neither a fraction nor an exponent is written */
};

bool eight_digits(uint64_t text)
{
    return !(((text + UINT64_C(0x4646464646464646)) | (text - UINT64_C(0x3030303030303030))) &
             UINT64_C(0x8080808080808080));
}

uint64_t eight_value(uint64_t text)
{
    const uint64_t pairs = UINT64_C(0x000000ff000000ff);

    text -= UINT64_C(0x3030303030303030);
    text = text * 10 + (text >> 8);
    return uint32_t(((text & pairs) * UINT64_C(0x000f424000000064) +
                     (text >> 16 & pairs) * UINT64_C(0x0000271000000001)) >>
                    32);
}

inline const char *skip_digits(const char *at, const char *end, uint64_t *value)
{
    uint64_t text;

    while (end - at >= 8 && (memcpy(&text, at, 8), eight_digits(text))) {
        *value = *value * 100000000 + eight_value(text);
        at += 8;
    }
    while (at < end && *at >= '0' && *at <= '9')
        *value = *value * 10 + uint64_t(*at++ - '0');
    return at;
}

const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

bool is_one_of(const char *at, const char *end, char one, char other)
{
    return at < end && (*at == one || *at == other);
}

/* What follows an "e"; NULL: no exponent. */
const char *scan_exponent(const char *at, const char *end, int *exponent)
{
    const bool negative = at < end && *at == '-';
    uint64_t value = 0;

    if (is_one_of(at, end, '-', '+'))
        at++;
    const char *begin = at;
    at = skip_digits(at, end, &value);
    if (at == begin)
        return nullptr;
    const int size = at - begin > MOST_EXPONENT_DIGITS ? FAR : int(value);
    *exponent += negative ? -size : size;
    return at;
}

/* A number that begins there; false: none does. */
inline bool scan(const char *at, const char *end, Decimal *out)
{
    *out = {at, at, 0, 0, 0, at < end && *at == '-', true};
    at += out->negative;
    const char *begin = at;
    at = skip_digits(at, end, &out->digits);
    out->length = at - begin;
    if (at == begin || (*begin == '0' && out->length > 1))
        return false;
    if (at < end && *at == '.') {
        begin = ++at;
        at = skip_digits(at, end, &out->digits);
        if (at == begin)
            return false;
        out->length += at - begin;
        out->exponent = at - begin > FAR ? -FAR : -int(at - begin);
        out->whole = false;
    }
    if (is_one_of(at, end, 'e', 'E')) {
        at = scan_exponent(at + 1, end, &out->exponent);
        if (!at)
            return false;
        out->whole = false;
    }
    out->end = at;
    return true;
}

template <typename T> bool convert_whole(const Decimal &number, T *out)
{
    uint64_t most = uint64_t(std::numeric_limits<T>::max());

    if (number.negative)
        most = std::is_signed_v<T> ? most + 1 : 0;
    if (!number.whole || number.length > MOST_DIGITS || number.digits > most)
        return false;
    *out = T(number.negative ? 0 - number.digits : number.digits);
    return true;
}

/*
 * The nearest double, or one of its neighbours: digits and the result are each rounded once, by
 * 2^-53 of them at most. False: the number is not of the kind that this is true of.
 */
bool near_double(const Decimal &number, double *out)
{
    if (number.length > MOST_DIGITS || number.exponent < -MOST_POWER ||
        number.exponent > MOST_POWER)
        return false;
    const double digits = double(number.digits);
    *out =
        number.exponent < 0 ? digits / POWERS[-number.exponent] : digits * POWERS[number.exponent];
    return true;
}

/* The nearest double without its sign; false: this does not tell. */
bool quick(const Decimal &number, double *out)
{
    return number.digits <= EXACT && near_double(number, out);
}

/* The nearest float, likewise: the one that all become which the number may be. */
bool quick(const Decimal &number, float *out)
{
    double near;

    if (!near_double(number, &near))
        return false;
    *out = float(near * (1 - 0x1p-51));
    return *out == float(near * (1 + 0x1p-51));
}

template <typename T> bool convert_real(const Decimal &number, T *out)
{
    if (quick(number, out)) {
        *out = number.negative ? -*out : *out;
        return std::isfinite(*out);
    }
    const auto found = std::from_chars(number.begin, number.end, *out);
    return found.ec == std::errc() && found.ptr == number.end;
}

template <typename T> bool convert(const Decimal &number, T *out)
{
    if constexpr (std::is_floating_point_v<T>)
        return convert_real(number, out);
    else
        return convert_whole(number, out);
}

bool skip(const char **at, const char *end, char what)
{
    if (*at == end || **at != what)
        return false;
    *at = skip_space(*at + 1, end);
    return true;
}

} // namespace

template <typename T> bool read_list(const char *at, const char *end, T *out, size_t count)
{
    Decimal number;

    at = skip_space(at, end);
    if (!skip(&at, end, '['))
        return false;
    for (size_t index = 0; index < count; index++) {
        if ((index && !skip(&at, end, ',')) || !scan(at, end, &number) ||
            !convert(number, &out[index]))
            return false;
        at = skip_space(number.end, end);
    }
    return at < end && *at == ']';
}

template bool read_list(const char *, const char *, float *, size_t);
template bool read_list(const char *, const char *, double *, size_t);
template bool read_list(const char *, const char *, int8_t *, size_t);
template bool read_list(const char *, const char *, int16_t *, size_t);
template bool read_list(const char *, const char *, int32_t *, size_t);
template bool read_list(const char *, const char *, int64_t *, size_t);
template bool read_list(const char *, const char *, uint8_t *, size_t);
template bool read_list(const char *, const char *, uint16_t *, size_t);
template bool read_list(const char *, const char *, uint32_t *, size_t);
template bool read_list(const char *, const char *, uint64_t *, size_t);

} // namespace autoglm_numbers
