/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/version.h
 * @brief Which libhal a program was built for, and which one it runs with.
 *
 * Two numbers matter. The *version* (major.minor.patch) tells people what they have. The *ABI
 * version* tells the loader whether two binaries fit: it changes only when a program, or a driver
 * plug-in, built before can no longer work. It is also the library's soname (libhal.so.1).
 */
#ifndef HAL_VERSION_H
#define HAL_VERSION_H

#include <stdint.h>

#include <hal/export.h>

#define HAL_VERSION_MAJOR 0
#define HAL_VERSION_MINOR 1
#define HAL_VERSION_PATCH 0

/** The binary interface these headers describe; the soname's number. */
#define HAL_ABI_VERSION 1

/** A version as one comparable number: 0xMMmmpp. */
#define HAL_VERSION_NUMBER(major, minor, patch)                                                    \
    ((uint32_t)(major) << 16 | (uint32_t)(minor) << 8 | (uint32_t)(patch))

HAL_BEGIN_DECLS

/**
 * @brief The version of the library that is loaded, as HAL_VERSION_NUMBER().
 *
 * Never fails. Any thread, any time.
 */
HAL_API uint32_t hal_version(void);

/** @brief The same as text, "0.1.0". The string is static; do not free it. Any thread. */
HAL_API const char *hal_version_string(void);

/**
 * @brief Does the loaded library serve a program built for @p abi and @p version?
 * @param abi      HAL_ABI_VERSION at the program's compile time.
 * @param version  HAL_VERSION_NUMBER() of the headers it was compiled with.
 * @return 0, or -EPROTONOSUPPORT when the ABI differs or the library is older than the headers;
 *         hal_last_error() then names both.
 *
 * Use hal_check_library(), which passes the compile-time numbers by itself. Any thread.
 */
HAL_API int hal_check_version(uint32_t abi, uint32_t version);

/** @brief Call first in a program: 0, or a negative errno when program and library do not fit. */
#define hal_check_library()                                                                        \
    hal_check_version(HAL_ABI_VERSION,                                                             \
                      HAL_VERSION_NUMBER(HAL_VERSION_MAJOR, HAL_VERSION_MINOR, HAL_VERSION_PATCH))

HAL_END_DECLS

#endif
