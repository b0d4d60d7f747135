/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "internal.h"

#define NS_PER_S 1000000000
#define NS_PER_MS 1000000

int64_t hal_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

hal_deadline hal_after(int64_t ns)
{
    int64_t sum;

    if (ns <= 0)
        return HAL_NOWAIT;
    if (__builtin_add_overflow(hal_now(), ns, &sum))
        return HAL_FOREVER;
    return sum;
}

hal_deadline hal_after_ms(int64_t ms)
{
    int64_t ns;

    if (ms > 0 && __builtin_mul_overflow(ms, (int64_t)NS_PER_MS, &ns))
        return HAL_FOREVER;
    return ms > 0 ? hal_after(ns) : HAL_NOWAIT;
}
