/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this driver share. Sources: the kernel's
 * Documentation/spi/{spidev,spi-summary}.rst, include/uapi/linux/spi/{spi,spidev}.h. */
#ifndef SPI_H
#define SPI_H

#include <linux/spi/spidev.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

/* Most segments of one message: the size of an ioctl's argument is a number of 13 or 14 bits. */
#define MESSAGE_SEGMENTS_MAX (((1 << _IOC_SIZEBITS) - 1) / (int)sizeof(struct spi_ioc_transfer))

/* The kernel keeps these for the chip select, whoever has it open, beyond the last close. */
struct settings {
    uint32_t mode; /* SPI_CPHA ... */
    uint32_t speed;
    uint8_t bits;
};

struct spi {
    char *node;     /* "/dev/spidev0.0", links resolved */
    uint32_t limit; /* bytes of a message in each direction: spidev's parameter bufsiz */
    struct settings found;
    bool restore, changed;
    /* What segments do that do not say otherwise. Set in the control lane, used in all three. */
    _Atomic uint8_t lanes_tx, lanes_rx;
    _Atomic uint16_t delay_us;
    _Atomic uint8_t word_delay_us;
};

/* ---- spi.c ---- */

/* Word a failed call (negative errno). */
int spi_fail(struct hal_device *dev, int err, const char *operation);

/* ---- message.c ---- */

/* Exchange segments as hal_transfer() does it, as one message or as several between which the chip
 * select is released anyway. The bytes moved, or a worded failure. */
ssize_t message_exchange(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                         const char *operation, hal_deadline until);

/* ---- attributes.c ---- */

/* 0 or negative errno, without message. */
int settings_load(int fd, struct settings *out);
void settings_restore(int fd, const struct settings *settings);
/* Data lines, from the mode's bits. */
uint8_t lanes_tx_of(uint32_t mode);
uint8_t lanes_rx_of(uint32_t mode);

#define SPI_ATTRIBUTES 16
extern const struct hal_attribute spi_attributes[SPI_ATTRIBUTES];

#endif
