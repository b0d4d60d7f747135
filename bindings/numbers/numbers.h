/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a list in JSON, as an array of one type. */
#ifndef NUMBERS_NUMBERS_H
#define NUMBERS_NUMBERS_H

#include <cstddef>

namespace autoglm_numbers
{

/*
 * Read a list (RFC 8259, section 5) that holds `count` numbers (section 6) and nothing else.
 *
 * A number becomes the T that is nearest to it, the even one of two. `at` may be anything, up to
 * `end`, and what follows the list is not looked at. T is float, double, or a whole type of 8 to 64
 * bits.
 *
 * Returns false where it is no such list, or a number is none of T's: for a whole type a fraction,
 * an exponent, or more than 19 digits; for all, one beyond T's range, too large or too near to 0.
 * `out` then holds anything. Threads may call it at once, each with an `out` of its own.
 */
template <typename T> bool read_list(const char *at, const char *end, T *out, size_t count);

} // namespace autoglm_numbers

#endif
