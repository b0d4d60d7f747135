/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/i2c.h
 * @brief Requests of I2C and SMBus devices (driver `i2c`) for hal_control(), and register helpers.
 *
 * `i2c:1/0x50` is the device at address 0x50 of bus 1; `i2c:1` is the bus alone, for scans and for
 * segments that name their own address. hal_read() and hal_write() are one message each;
 * hal_transfer() is one transaction with repeated starts. Each fault has its own error: -EREMOTEIO
 * nobody acknowledged (address or data), -EIO bus error, -EBUSY arbitration lost to another
 * controller (after the retries), -ETIMEDOUT the bus is stuck, -EBADMSG a wrong packet error code,
 * -EPROTO an answer against the SMBus protocol.
 * Sources: I2C-bus specification UM10204, System Management Bus 3.2, the kernel's
 * Documentation/i2c/{dev-interface,fault-codes,smbus-protocol}.rst.
 */
#ifndef HAL_I2C_H
#define HAL_I2C_H

#include <stdint.h>

#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

enum hal_i2c_request {
    HAL_I2C_SMBUS = 0x4901, /**< arg: struct hal_i2c_smbus, in and out */
    HAL_I2C_SCAN = 0x4902   /**< arg: struct hal_i2c_scan, out */
};

/** The protocols of SMBus 3.2, section 6.5. Reading or writing is hal_i2c_smbus.read. */
enum hal_i2c_protocol {
    HAL_SMBUS_QUICK = 0,         /**< no data: the read/write bit is the message */
    HAL_SMBUS_BYTE = 1,          /**< one byte without command (send byte, receive byte) */
    HAL_SMBUS_BYTE_DATA = 2,     /**< command, one byte */
    HAL_SMBUS_WORD_DATA = 3,     /**< command, two bytes, low one first */
    HAL_SMBUS_PROCESS_CALL = 4,  /**< command, two bytes out, two bytes in */
    HAL_SMBUS_BLOCK_DATA = 5,    /**< command, count, 1 .. 32 bytes */
    HAL_SMBUS_BLOCK_CALL = 7,    /**< block out, block in */
    HAL_SMBUS_I2C_BLOCK_DATA = 8 /**< command, 1 .. 32 bytes, no count on the wire */
};

/** Most bytes of an SMBus block. */
#define HAL_SMBUS_BLOCK_MAX 32

/** One SMBus exchange. hal_control() returns the bytes read, or 0. */
struct hal_i2c_smbus {
    uint8_t protocol; /**< enum hal_i2c_protocol */
    uint8_t read;     /**< 1: read, 0: write; calls do both */
    uint8_t command;
    uint8_t length; /**< bytes in data: to write; to read, for I2C_BLOCK_DATA; set by reads */
    uint8_t data[HAL_SMBUS_BLOCK_MAX];
};

/** What answers on a bus. Bit a%8 of byte a/8 stands for the 7-bit address a. */
struct hal_i2c_scan {
    uint8_t present[16]; /**< something acknowledged */
    uint8_t in_use[16];  /**< a kernel driver holds it: not probed */
    uint8_t skipped[16]; /**< reserved, or this adapter cannot probe it safely */
};

/**
 * @brief Read @p len bytes from register @p reg: its number written (big-endian, @p reg_size bytes,
 *        1 .. 4), repeated start, bytes read.
 * @return @p len or a negative errno, as hal_transfer(). Any thread.
 */
HAL_API ssize_t hal_i2c_read_register(hal_handle dev, uint32_t reg, size_t reg_size, void *buf,
                                      size_t len, hal_deadline until);

/** @brief Write @p len (at most 256) bytes to register @p reg, in one message. As above. */
HAL_API ssize_t hal_i2c_write_register(hal_handle dev, uint32_t reg, size_t reg_size,
                                       const void *buf, size_t len, hal_deadline until);

HAL_END_DECLS

#endif
