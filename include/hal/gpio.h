/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/gpio.h
 * @brief Requests and records of GPIO lines (driver `gpio`).
 *
 * `gpio:gpiochip0/4,5` is lines 4 and 5 of a chip, requested together; lines may be named
 * (`gpio:gpiochip0/LED,BUTTON`, or `gpio:LED` which looks through all chips); `gpio:gpiochip0` is
 * the chip alone, for line information.
 *
 * Without edge detection hal_read() gives one byte a line, 0 or 1, in the order of the address, and
 * hal_write() takes the same. With `edge` set, hal_read() gives struct hal_gpio_event records
 * (whole ones only) and values are read with HAL_GPIO_GET.
 * Source: the kernel's character device uAPI v2, include/uapi/linux/gpio.h and
 * Documentation/userspace-api/gpio/chardev.rst.
 */
#ifndef HAL_GPIO_H
#define HAL_GPIO_H

#include <stdint.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

/** Most lines of one device, and bytes of a line's or consumer's name with its NUL. */
#define HAL_GPIO_LINES_MAX 64
#define HAL_GPIO_NAME_MAX 32

enum hal_gpio_request {
    HAL_GPIO_GET = 0x4701,  /**< arg: struct hal_gpio_values; mask says which, bits is filled in */
    HAL_GPIO_SET = 0x4702,  /**< arg: struct hal_gpio_values; only lines in mask change */
    HAL_GPIO_LINE = 0x4703, /**< arg: struct hal_gpio_line; offset in, the rest out */
    HAL_GPIO_CHIP = 0x4704  /**< arg: struct hal_gpio_chip, out */
};

/** Values of the device's lines: bit i is the i-th line of the address. */
struct hal_gpio_values {
    uint64_t mask;
    uint64_t bits;
};

/** An edge. 48 bytes. */
struct hal_gpio_event {
    uint64_t timestamp_ns;  /**< of the clock chosen by `event_clock` */
    uint32_t edge;          /**< 1 rising, 2 falling */
    uint32_t offset;        /**< of the line on its chip */
    uint32_t index;         /**< of the line in the address */
    uint32_t sequence;      /**< among all lines of the device, from 1 */
    uint32_t line_sequence; /**< on this line, from 1 */
    uint32_t lost;          /**< events the kernel dropped just before this one */
    uint32_t reserved[4];
};

enum hal_gpio_line_flag {
    HAL_GPIO_USED = 1, /**< somebody holds it, see consumer */
    HAL_GPIO_OUTPUT = 2,
    HAL_GPIO_ACTIVE_LOW = 4,
    HAL_GPIO_OPEN_DRAIN = 8,
    HAL_GPIO_OPEN_SOURCE = 16,
    HAL_GPIO_PULL_UP = 32,
    HAL_GPIO_PULL_DOWN = 64,
    HAL_GPIO_BIAS_OFF = 128,
    HAL_GPIO_EDGE_RISING = 256,
    HAL_GPIO_EDGE_FALLING = 512
};

/** What the kernel says about one line of the chip. */
struct hal_gpio_line {
    uint32_t offset;
    uint32_t flags;       /**< enum hal_gpio_line_flag */
    uint32_t debounce_us; /**< 0: none */
    uint32_t reserved;
    char name[HAL_GPIO_NAME_MAX];
    char consumer[HAL_GPIO_NAME_MAX];
};

/** What the kernel says about the chip. */
struct hal_gpio_chip {
    uint32_t lines;
    uint32_t reserved;
    char name[HAL_GPIO_NAME_MAX];
    char label[HAL_GPIO_NAME_MAX];
};

HAL_END_DECLS

#endif
