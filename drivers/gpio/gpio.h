/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this driver share. Sources: include/uapi/linux/gpio.h (v2) and
 * Documentation/userspace-api/gpio/chardev.rst of the kernel. */
#ifndef GPIO_H
#define GPIO_H

#include <linux/gpio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>
#include <hal/gpio.h>

/* How the lines are requested: the same for all lines of a device. */
struct gpio_config {
    uint64_t flags; /* GPIO_V2_LINE_FLAG_... */
    uint32_t debounce_us;
};

struct gpio {
    char node[64]; /* "/dev/gpiochip0" */
    struct gpiochip_info chip;
    int chip_fd;
    int line_fd;    /* -1: the chip alone */
    unsigned count; /* of lines; 0: the chip alone */
    uint32_t offsets[GPIO_V2_LINES_MAX];
    uint64_t all; /* a bit for each line */
    char consumer[GPIO_MAX_NAME_SIZE];
    unsigned event_buffer;
    bool events;               /* opened with edges: hal_read() gives events */
    struct gpio_config config; /* control lane */
    _Atomic uint64_t driven;   /* logical levels that outputs have, or would have as outputs */
    _Atomic uint64_t lost;     /* events that the kernel dropped */
    uint32_t seen[GPIO_V2_LINES_MAX]; /* last sequence number of each line; read lane */
};

/* ---- chip.c ---- */

/* Find what the address names. Sets node, chip, chip_fd, count, offsets, all. 0, or a worded
 * failure after which chip_fd is open or -1. */
int chip_resolve(struct hal_device *dev, struct gpio *gpio);
/* What the kernel says about one line. 0 or a negative errno. */
int chip_line(int chip_fd, uint32_t offset, struct gpio_v2_line_info *info);

/* ---- request.c ---- */

/* Get the lines from the kernel, with the config, `driven` and the consumer. Sets line_fd. */
int request_lines(struct hal_device *dev, struct gpio *gpio);
/* Change the config of lines that are held. 0, or a worded failure with all as it was. */
int request_configure(struct hal_device *dev, const struct gpio_config *config,
                      const char *operation);
/* Add the direction that other settings imply; refuse what cannot go together. */
int request_settle(struct hal_device *dev, struct gpio_config *config, const char *operation);
/* Word a failure (negative errno) of something done with the lines. */
int request_fail(struct hal_device *dev, int err, const char *operation);
int request_get(struct hal_device *dev, struct hal_gpio_values *values, const char *operation);
int request_set(struct hal_device *dev, const struct hal_gpio_values *values,
                const char *operation);
/* -EOPNOTSUPP for the chip alone, where lines are needed. */
int request_need(struct hal_device *dev, const char *operation);

/* ---- attributes.c ---- */

#define GPIO_ATTRIBUTES 16
extern const struct hal_attribute gpio_attributes[GPIO_ATTRIBUTES];

/* Take the settings of the URI into config, driven, consumer and event_buffer. */
int gpio_options(struct hal_device *dev, struct gpio *gpio);

#endif
