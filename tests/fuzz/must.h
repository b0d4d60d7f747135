/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. */
#ifndef FUZZ_MUST_H
#define FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#include <hal/hal.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s [%s]\n", __FILE__, __LINE__, #condition, hal_last_error()); \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
