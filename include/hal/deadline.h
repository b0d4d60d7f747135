/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/deadline.h
 * @brief Points in time at which a blocking call gives up.
 *
 * A deadline is absolute: nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)). One deadline
 * therefore bounds a whole sequence of calls, and no call that is interrupted has to work out how
 * much time it has left:
 *
 *     hal_deadline until = hal_after_ms(100);
 *     hal_write(dev, "*IDN?\n", 6, until);
 *     hal_read_until(dev, line, sizeof(line), "\n", 1, until);
 */
#ifndef HAL_DEADLINE_H
#define HAL_DEADLINE_H

#include <stdint.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

/** Nanoseconds of CLOCK_MONOTONIC. Anything in the past means "do not wait". */
typedef int64_t hal_deadline;

/** Do not wait: the call does what it can at once, else returns -EAGAIN. */
#define HAL_NOWAIT ((hal_deadline)0)

/** Wait until it happens, the call is cancelled, or the device is gone. */
#define HAL_FOREVER ((hal_deadline)INT64_MAX)

/** @brief The time now, nanoseconds of CLOCK_MONOTONIC. Any thread; about 25 ns. */
HAL_API int64_t hal_now(void);

/**
 * @brief The deadline @p ns nanoseconds from now.
 *
 * Zero or less gives HAL_NOWAIT; a sum that would overflow gives HAL_FOREVER. Any thread.
 */
HAL_API hal_deadline hal_after(int64_t ns);

/** @brief The deadline @p ms milliseconds from now, with the rules of hal_after(). Any thread. */
HAL_API hal_deadline hal_after_ms(int64_t ms);

HAL_END_DECLS

#endif
