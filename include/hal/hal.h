/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/hal.h
 * @brief All of libhal. A driver needs only <hal/driver.h>.
 */
#ifndef HAL_HAL_H
#define HAL_HAL_H

#include <hal/attribute.h>
#include <hal/batch.h>
#include <hal/cache.h>
#include <hal/deadline.h>
#include <hal/device.h>
#include <hal/dmabuf.h>
#include <hal/driver.h>
#include <hal/error.h>
#include <hal/gpio.h>
#include <hal/i2c.h>
#include <hal/iio.h>
#include <hal/match.h>
#include <hal/memory.h>
#include <hal/registry.h>
#include <hal/uart.h>
#include <hal/uri.h>
#include <hal/version.h>
#include <hal/vfio.h>

#endif
