/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A SPI controller with no wires, for spidev.
 *
 *   chip select 0   a wire from MOSI to MISO
 *   chip select 1   a 25xx EEPROM of 256 bytes, modes 0 and 3, most significant bit first:
 *                   WREN 06, WRDI 04, RDSR 05, READ 03 address, WRITE 02 address
 *
 * The controller takes every mode bit there is (CPOL, CPHA, CS_HIGH, LSB_FIRST, 3WIRE, NO_CS, LOOP,
 * dual and quad), words of 4 to 32 bits and 1 kHz to 50 MHz.  With the parameters of lab_fault.h
 * transfers fail on demand; the parameter log (lab_log.h) has a line for each edge of a chip select
 * and for each transfer, with the settings the driver was given:
 *   cs1 on
 *   cs1 len=4 tx=1 rx=1 mode=0x0 bits=8 speed=1000000 tx_nbits=1 rx_nbits=1 cs_change=0
 * word_delay_us=0 cs1 off Unbinding the platform device "lab-spi" is pulling the controller out.
 */
#include <linux/bitrev.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/spi/spi.h>

#include "lab_fault.h"
#include "lab_log.h"

#define WRITE_ENABLED 0x02 /* in the EEPROM's status register */

struct eeprom {
    u8 memory[256];
    u8 command, address, status;
    unsigned int position; /* bytes since the chip was selected */
};

static struct platform_device *device;

static u8 eeprom_byte(struct eeprom *chip, u8 in)
{
    unsigned int position = chip->position++;

    if (!position) {
        chip->command = in;
        if (in == 0x06)
            chip->status |= WRITE_ENABLED;
        else if (in == 0x04)
            chip->status &= ~WRITE_ENABLED;
        return 0xff;
    }
    if (chip->command == 0x05)
        return chip->status;
    if (position == 1) {
        chip->address = in;
        return 0xff;
    }
    if (chip->command == 0x03)
        return chip->memory[chip->address++];
    if (chip->command == 0x02 && (chip->status & WRITE_ENABLED))
        chip->memory[chip->address++] = in;
    return 0xff;
}

static void eeprom_deselect(struct eeprom *chip)
{
    if (chip->position && chip->command == 0x02)
        chip->status &= ~WRITE_ENABLED;
    chip->position = 0;
}

static void lab_set_cs(struct spi_device *spi, bool level)
{
    bool active = level == !!(spi->mode & SPI_CS_HIGH);

    lab_log("cs%u %s\n", spi_get_chipselect(spi, 0), active ? "on" : "off");
    if (!active)
        eeprom_deselect(spi_controller_get_devdata(spi->controller));
}

/* One byte of the EEPROM's wire as it sees it: the wrong mode or bit order gives it nonsense. */
static u8 eeprom_wire(struct eeprom *chip, struct spi_device *spi, u8 in)
{
    u32 clock = spi->mode & SPI_MODE_X_MASK;
    u8 out;

    if (clock != SPI_MODE_0 && clock != SPI_MODE_3)
        return eeprom_byte(chip, in << 1) >> 1; /* sampled one edge too late */
    if (!(spi->mode & SPI_LSB_FIRST))
        return eeprom_byte(chip, in);
    out = eeprom_byte(chip, bitrev8(in));
    return bitrev8(out);
}

static int lab_transfer(struct spi_controller *ctlr, struct spi_device *spi, struct spi_transfer *t)
{
    struct eeprom *chip = spi_controller_get_devdata(ctlr);
    unsigned int width = roundup_pow_of_two(DIV_ROUND_UP(t->bits_per_word, 8)), i;
    const u8 *tx = t->tx_buf;
    u8 *rx = t->rx_buf;
    int err;

    lab_log("cs%u len=%u tx=%d rx=%d mode=0x%x bits=%u speed=%u tx_nbits=%u rx_nbits=%u "
            "cs_change=%u word_delay_us=%u\n",
            spi_get_chipselect(spi, 0), t->len, !!tx, !!rx, spi->mode, t->bits_per_word,
            t->speed_hz, t->tx_nbits, t->rx_nbits, t->cs_change,
            t->word_delay.unit == SPI_DELAY_UNIT_USECS ? t->word_delay.value : 0);
    err = lab_fault();
    if (err)
        return err;
    for (i = 0; i < t->len; i++) {
        /* A word lies in memory in the processor's order; its most significant byte goes first. */
        unsigned int at = IS_ENABLED(CONFIG_CPU_BIG_ENDIAN) ? i : i + width - 1 - 2 * (i % width);
        u8 in = tx ? tx[at] : 0;
        u8 out = spi_get_chipselect(spi, 0) ? eeprom_wire(chip, spi, in) : in;

        if (rx)
            rx[at] = out;
    }
    return 0;
}

static int lab_probe(struct platform_device *pdev)
{
    struct spi_controller *ctlr = devm_spi_alloc_master(&pdev->dev, sizeof(struct eeprom));
    struct eeprom *chip;
    int err, i;

    if (!ctlr)
        return -ENOMEM;
    chip = spi_controller_get_devdata(ctlr);
    memset(chip->memory, 0xff, sizeof(chip->memory));
    ctlr->bus_num = -1;
    ctlr->num_chipselect = 2;
    ctlr->mode_bits = SPI_MODE_X_MASK | SPI_CS_HIGH | SPI_LSB_FIRST | SPI_3WIRE | SPI_NO_CS |
                      SPI_LOOP | SPI_TX_DUAL | SPI_TX_QUAD | SPI_RX_DUAL | SPI_RX_QUAD;
    ctlr->bits_per_word_mask = SPI_BPW_RANGE_MASK(4, 32);
    ctlr->min_speed_hz = 1000;
    ctlr->max_speed_hz = 50000000;
    ctlr->set_cs = lab_set_cs;
    ctlr->transfer_one = lab_transfer;
    err = devm_spi_register_controller(&pdev->dev, ctlr);
    if (err)
        return err;
    for (i = 0; i < 2; i++) {
        struct spi_board_info info = {
            .modalias = "dh2228fv", /* one of the names spidev answers to */
            .max_speed_hz = 10000000,
            .chip_select = i,
        };

        if (!spi_new_device(ctlr, &info))
            return -ENODEV;
    }
    return 0;
}

static struct platform_driver driver = {
    .probe = lab_probe,
    .driver = {.name = "lab-spi"},
};

static int __init lab_init(void)
{
    int err = platform_driver_register(&driver);

    if (err)
        return err;
    device = platform_device_register_simple("lab-spi", PLATFORM_DEVID_NONE, NULL, 0);
    if (IS_ERR(device))
        platform_driver_unregister(&driver);
    return PTR_ERR_OR_ZERO(device);
}

static void __exit lab_exit(void)
{
    platform_device_unregister(device);
    platform_driver_unregister(&driver);
}

module_init(lab_init);
module_exit(lab_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("SPI controller for tests");
