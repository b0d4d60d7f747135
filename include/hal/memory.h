/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/memory.h
 * @brief Devices that are memory: registers of exact width, blocks at an offset, mappings.
 *
 * Drivers `mmio`, `memory`, `vfio` and `dmabuf` offer these. Offsets count bytes from the start of
 * the device. A register is read or written by one access of exactly its width; offsets must be
 * multiples of it. Values are in the machine's byte order unless the device says otherwise
 * (attribute `byte_order`). Register calls run in the control lane: hal_update() is atomic against
 * all other register calls on this handle (not against the device, or other processes).
 *
 * ## Order
 * A store to a register comes after everything that its thread did before, and everything that a
 * thread does after a load of a register comes after it: a device that is told to go by hal_store()
 * finds in memory what was stored there before, and memory that is looked at after hal_load() has
 * said "done" has what the device wrote. So on every architecture; blocks (hal_write_at(),
 * hal_read_at()) as a whole likewise. Accesses through a mapping have the processor's own order,
 * and stores around the caches or to write-combining memory want hal_fence_store() first.
 *
 * What must be flushed for devices that are not coherent is said in hal/cache.h.
 */
#ifndef HAL_MEMORY_H
#define HAL_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <hal/deadline.h>
#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

/**
 * @brief Read a register.
 * @param dev     The device.
 * @param offset  Bytes from its start, a multiple of @p width.
 * @param width   1, 2, 4 or 8 bytes.
 * @param value   Set to what was read, zero-extended.
 * @return 0; -EINVAL (width, alignment), -ERANGE (beyond the device), -EOPNOTSUPP (the device has
 *         no registers, or none of that width), -EFAULT, -EBADF, -ESTALE, -ENODEV (gone).
 *
 * Any thread. Does not wait for the device.
 */
HAL_API int hal_load(hal_handle dev, uint64_t offset, unsigned width, uint64_t *value);

/** @brief Write a register: the low @p width bytes of @p value. As hal_load(); also -EACCES. */
HAL_API int hal_store(hal_handle dev, uint64_t offset, unsigned width, uint64_t value);

/**
 * @brief Read-modify-write: new = (old & ~mask) | (value & mask), in one hold of the lane.
 * @param old  Set to what was read; NULL when it does not matter.
 */
HAL_API int hal_update(hal_handle dev, uint64_t offset, unsigned width, uint64_t mask,
                       uint64_t value, uint64_t *old);

/**
 * @brief Read a block at an offset.
 * @return Bytes read, fewer at the device's end; -ERANGE beyond it (at its very end 0, or -ENOSPC
 *         for writes, will do), else as hal_load(). The read lane.
 */
HAL_API ssize_t hal_read_at(hal_handle dev, void *buf, size_t len, uint64_t offset,
                            hal_deadline until);

/** @brief Write a block at an offset. As hal_read_at(); -EACCES when read-only. The write lane. */
HAL_API ssize_t hal_write_at(hal_handle dev, const void *buf, size_t len, uint64_t offset,
                             hal_deadline until);

enum hal_map_flag {
    HAL_MAP_READ = 1,
    HAL_MAP_WRITE = 2,
    HAL_MAP_WRITE_COMBINE = 4, /**< ask for write-combining (prefetchable PCI memory); refused with
                                    -EOPNOTSUPP where the device cannot */
    HAL_MAP_SYNC = 8           /**< persistent memory: stores are durable once flushed (MAP_SYNC) */
};

/** Memory of a device in the address space of the process. */
struct hal_mapping {
    void *address;   /**< where byte `offset` of the device is */
    size_t length;   /**< bytes, as asked */
    uint64_t offset; /**< bytes from the device's start */
    uint32_t flags;  /**< enum hal_map_flag: what was got */
    uint32_t reserved;
    void *base; /**< what was mmap(2)ed: whole pages; for hal_unmap() */
    size_t base_length;
};

/**
 * @brief Map a part of a device.
 * @param dev     The device.
 * @param offset  Bytes from its start; need not be aligned to pages.
 * @param length  Bytes; 0: all from @p offset on.
 * @param flags   enum hal_map_flag, or-ed; READ, WRITE or both are needed.
 * @param out     Filled in. The caller owns the mapping and ends it with hal_unmap(); it outlives
 *                hal_close().
 * @return 0; -EINVAL, -ERANGE, -EACCES, -EOPNOTSUPP (not a device that can be mapped, or a flag it
 *         does not offer), -ENOMEM, -EFAULT, -EBADF, -ESTALE. Any thread; the control lane.
 */
HAL_API int hal_map(hal_handle dev, uint64_t offset, size_t length, uint32_t flags,
                    struct hal_mapping *out);

/** @brief End a mapping. @return 0 or -EINVAL (it is none). Once, by whoever owns it. */
HAL_API int hal_unmap(struct hal_mapping *mapping);

HAL_END_DECLS

#endif
