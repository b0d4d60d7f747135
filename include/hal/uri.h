/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/uri.h
 * @brief The names devices are opened by.
 *
 *     driver:address?key=value&key=value      uart:/dev/ttyUSB0?baud=115200
 *     driver                                  loopback
 *
 * - driver: a letter or digit, then letters, digits, '_', '-' or '.'; HAL_NAME_MAX at most.
 * - address: anything the driver understands, up to the first '?'.
 * - options: each key once, HAL_OPTIONS_MAX at most, a key is formed as a driver name.
 *   A key without "=value" means "true".
 *
 * In address and values %XX is the byte of that hexadecimal number (RFC 3986); a '%' that is not
 * followed by two hexadecimal digits stands for itself, so "drop=1%" needs no escaping. %00 and
 * control characters (below 0x20, and 0x7f) are refused.
 */
#ifndef HAL_URI_H
#define HAL_URI_H

#include <stddef.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

/** Longest driver, logical or option name in bytes, without the terminating NUL. */
#define HAL_NAME_MAX 31
/** Longest URI in bytes, without the terminating NUL. */
#define HAL_URI_MAX 1023
/** Most options in one URI. */
#define HAL_OPTIONS_MAX 32

/** One option of a parsed URI. Both strings live as long as the parsed URI. */
struct hal_option {
    const char *key;
    const char *value;
};

/** A parsed URI. Self-contained: copying the text in is the parser's work; nothing to free. */
struct hal_uri {
    const char *driver;
    const char *address; /**< "" when there is none. */
    struct hal_option options[HAL_OPTIONS_MAX];
    size_t option_count;
    char text[HAL_URI_MAX + HAL_OPTIONS_MAX + 3]; /**< The decoded parts, each ended by NUL. */
};

/**
 * @brief Take a URI apart.
 * @param text  The URI.
 * @param out   Filled in; its pointers point into itself, so it must not be copied or moved.
 * @return 0; -EFAULT (a NULL argument), -ENOENT (empty), -ENAMETOOLONG (URI or name too long),
 *         -EINVAL (ill-formed; hal_last_error() says what and where), -E2BIG (too many options).
 *
 * Any thread.
 */
HAL_API int hal_uri_parse(const char *text, struct hal_uri *out);

/**
 * @brief Write @p value so that it survives as address or option value in a URI.
 * @param value  Text; bytes with a meaning in a URI ('%', '?', '&', '=', '#', '+', space and
 *               non-ASCII) become %XX.
 * @param out    Room for the result and its NUL.
 * @param size   Size of @p out.
 * @return Length without the NUL; -ENAMETOOLONG when it does not fit; -EINVAL when @p value holds
 *         control characters; -EFAULT. Any thread.
 */
HAL_API long hal_uri_quote(const char *value, char *out, size_t size);

HAL_END_DECLS

#endif
