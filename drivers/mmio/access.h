/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses of exactly the width asked for, to registers that are mapped, and their order.
 *
 * Registers of one device keep their order by themselves. Against memory that it reaches by DMA
 * they have the order that hal/memory.h promises, which is that of the kernel's readl() and
 * writel() and a little more: all that came before a store to a register is done before it, and
 * nothing that comes after a load of one is done before it. Sources: the kernel's
 * Documentation/memory-barriers.txt, "Kernel I/O barrier effects"; Arm ARM DDI 0487, B2 "DMB";
 * RISC-V unprivileged ISA, "FENCE" (registers may be I/O or memory there). x86-64 keeps this order,
 * so only the compiler is told. */
#ifndef MMIO_ACCESS_H
#define MMIO_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <hal/driver.h>

#if defined(__aarch64__)
#define BEFORE_STORE "dmb osh"
#define AFTER_LOAD "dmb oshld"
#elif defined(__riscv)
#define BEFORE_STORE "fence rw, ow"
#define AFTER_LOAD "fence ir, rw"
#else
#define BEFORE_STORE ""
#define AFTER_LOAD ""
#endif

static inline void order_before_store(void)
{
    __asm__ volatile(BEFORE_STORE : : : "memory");
}

static inline void order_after_load(void)
{
    __asm__ volatile(AFTER_LOAD : : : "memory");
}

/* Whether the option "byte_order" of a device says that it is not the machine's. */
static inline bool must_swap(const struct hal_device *dev)
{
    bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    struct hal_value order;

    hal_device_option(dev, "byte_order", &order);
    return !strcmp(order.s, little ? "big" : "little");
}

/* ---- registers: one access each ----------------------------------------------------------------
 */

static inline uint64_t load_relaxed(volatile const uint8_t *at, unsigned width, bool swap)
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

static inline void store_relaxed(volatile uint8_t *at, unsigned width, uint64_t value, bool swap)
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

static inline uint64_t load_once(volatile const uint8_t *at, unsigned width, bool swap)
{
    uint64_t value = load_relaxed(at, width, swap);

    order_after_load();
    return value;
}

static inline void store_once(volatile uint8_t *at, unsigned width, uint64_t value, bool swap)
{
    order_before_store();
    store_relaxed(at, width, value, swap);
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
        value = load_relaxed(registers + offset + done, (unsigned)width, false);
        memcpy(to + done, low_bytes(&value, (unsigned)width), width);
    }
    order_after_load();
}

static inline void write_block(volatile uint8_t *registers, uint64_t offset, const void *buf,
                               size_t len)
{
    const uint8_t *from = buf;

    order_before_store();
    for (size_t done = 0, width; done < len; done += width) {
        uint64_t value = 0;
        width = width_at(offset + done, len - done);
        memcpy(low_bytes(&value, (unsigned)width), from + done, width);
        store_relaxed(registers + offset + done, (unsigned)width, value, false);
    }
}

#endif
