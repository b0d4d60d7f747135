/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/iio.h
 * @brief Requests and records of Industrial I/O devices (driver `iio`).
 *
 * `iio:device0` (or its name, `iio:ad7124`) has one attribute a channel, in SI units
 * ("voltage0": V, "temp": degree Celsius, "accel_x": m/s^2), and "voltage0.raw", ".scale",
 * ".offset" beside it. Opened with `channels=voltage0,voltage1`, hal_read() gives captured scans as
 * the kernel lays them out; HAL_IIO_SCAN tells the layout. Opened with `events=true`, hal_read()
 * gives struct hal_iio_event records.
 * Sources: the kernel's Documentation/ABI/testing/sysfs-bus-iio and Documentation/iio/.
 */
#ifndef HAL_IIO_H
#define HAL_IIO_H

#include <stdint.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

/** Most channels of one capture. */
#define HAL_IIO_CHANNELS_MAX 64

enum hal_iio_request {
    HAL_IIO_SCAN = 0x4f01 /**< arg: struct hal_iio_scan, out */
};

/** How one channel lies in a scan. */
struct hal_iio_element {
    char channel[32];  /**< "voltage0", "timestamp" */
    char unit[16];     /**< SI symbol of (raw + offset) * scale */
    double scale;      /**< to SI units: the kernel's milli-units are converted */
    double offset;     /**< added to the raw value before scaling */
    uint32_t position; /**< byte offset in the scan */
    uint8_t bits;      /**< valid bits */
    uint8_t storage;   /**< bits it takes, a multiple of 8 */
    uint8_t shift;     /**< right shift of the stored value */
    uint8_t is_signed;
    uint8_t big_endian;
    uint8_t repeat; /**< values a channel gives a scan, usually 1 */
    uint8_t reserved[6];
};

/** Layout of a captured scan. */
struct hal_iio_scan {
    uint32_t size; /**< bytes a scan */
    uint32_t count;
    struct hal_iio_element elements[HAL_IIO_CHANNELS_MAX];
};

/** A threshold or other event. 16 bytes. */
struct hal_iio_event {
    uint64_t id;          /**< as in <linux/iio/events.h> */
    int64_t timestamp_ns; /**< of the device's current_timestamp_clock */
};

HAL_END_DECLS

#endif
