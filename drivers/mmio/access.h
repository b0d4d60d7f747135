/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses of exactly the width asked for, to registers that are mapped. */
#ifndef MMIO_ACCESS_H
#define MMIO_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- registers: one access each ----------------------------------------------------------------
 */

static inline uint64_t load_once(volatile const uint8_t *at, unsigned width, bool swap)
{
    switch (width) {
    case 1:
        return *at;
    case 2: {
        uint16_t value = *(volatile const uint16_t *)at;
        return swap ? __builtin_bswap16(value) : value;
    }
    case 4: {
        uint32_t value = *(volatile const uint32_t *)at;
        return swap ? __builtin_bswap32(value) : value;
    }
    default: {
        uint64_t value = *(volatile const uint64_t *)at;
        return swap ? __builtin_bswap64(value) : value;
    }
    }
}

static inline void store_once(volatile uint8_t *at, unsigned width, uint64_t value, bool swap)
{
    switch (width) {
    case 1:
        *at = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)at = swap ? __builtin_bswap16((uint16_t)value) : (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)at = swap ? __builtin_bswap32((uint32_t)value) : (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)at = swap ? __builtin_bswap64(value) : value;
        break;
    }
}

/* ---- blocks: as wide as the alignment of both ends allows, at most 8 bytes an access -----------
 */

static inline unsigned width_at(uint64_t offset, size_t left)
{
    unsigned width = 8;

    while (offset % width || left < width)
        width /= 2;
    return width;
}

/* Where the `width` low bytes of a value begin. */
static inline uint8_t *low_bytes(uint64_t *value, unsigned width)
{
    return (uint8_t *)value + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 8 - width);
}

static inline void read_block(void *buf, volatile const uint8_t *registers, uint64_t offset,
                              size_t len)
{
    uint8_t *to = buf;

    for (size_t done = 0, width; done < len; done += width) {
        uint64_t value;
        width = width_at(offset + done, len - done);
        value = load_once(registers + offset + done, (unsigned)width, false);
        memcpy(to + done, low_bytes(&value, (unsigned)width), width);
    }
}

static inline void write_block(volatile uint8_t *registers, uint64_t offset, const void *buf,
                               size_t len)
{
    const uint8_t *from = buf;

    for (size_t done = 0, width; done < len; done += width) {
        uint64_t value = 0;
        width = width_at(offset + done, len - done);
        memcpy(low_bytes(&value, (unsigned)width), from + done, width);
        store_once(registers + offset + done, (unsigned)width, value, false);
    }
}

#endif
