/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/export.h
 * @brief How the public symbols are declared. Nothing here is for programs to use.
 */
#ifndef HAL_EXPORT_H
#define HAL_EXPORT_H

#ifdef __cplusplus
#define HAL_BEGIN_DECLS extern "C" {
#define HAL_END_DECLS }
#else
#define HAL_BEGIN_DECLS
#define HAL_END_DECLS
#endif

/* HAL_CDEF is set when the headers are read by a foreign-function generator, not a compiler. */
#if defined(__GNUC__) && !defined(HAL_CDEF)
#define HAL_API __attribute__((visibility("default")))
#define HAL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define HAL_MUST_CHECK __attribute__((warn_unused_result))
#else
#define HAL_API
#define HAL_PRINTF(text, first)
#define HAL_MUST_CHECK
#endif

#endif
