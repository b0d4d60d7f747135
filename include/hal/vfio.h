/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/vfio.h
 * @brief Requests of VFIO devices (driver `vfio`) for hal_control(): memory that the device may
 *        reach by DMA, through the IOMMU and nothing else; tests of interrupts; reset.
 *
 * A device of `vfio:0000:00:04.0/0` is one region (BAR, config space) of a PCI function. Handles of
 * one process on one function, or on functions of one IOMMU group, share one address space: what
 * one of them has mapped, all these functions reach.
 * Source: the kernel's Documentation/driver-api/vfio.rst, Documentation/userspace-api/iommufd.rst.
 */
#ifndef HAL_VFIO_H
#define HAL_VFIO_H

#include <stdint.h>

#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

enum hal_vfio_request {
    HAL_VFIO_DMA_MAP = 0x5601, /**< arg: struct hal_vfio_dma; iova is filled in. Returns 0. The
                                    device becomes bus master. */
    HAL_VFIO_DMA_UNMAP =
        0x5602,                /**< arg: struct hal_vfio_dma, of which only iova counts: as MAP
                                    gave it. Once it has returned 0, no device reaches the memory
                                    any more. hal_close() unmaps all that its handle has mapped. */
    HAL_VFIO_TRIGGER = 0x5603, /**< no arg: the kernel acts as if the interrupt had come.
                                    Returns 0. */
    HAL_VFIO_RESET = 0x5604    /**< no arg: resets the function, all its handles' too. Returns 0;
                                    -EOPNOTSUPP: it has no reset of its own. */
};

enum hal_vfio_dma_flag {
    HAL_VFIO_DEVICE_READS = 1, /**< the device may read the memory */
    HAL_VFIO_DEVICE_WRITES = 2 /**< the device may write to it */
};

/** hal_vfio_dma.iova: the driver chooses, as low as it can. */
#define HAL_VFIO_IOVA_ANY UINT64_MAX

/**
 * Memory of this process, as devices see it. The IOMMU knows whole pages: all of those that hold a
 * byte of it can be reached. Memory that begins and ends at pages shares nothing else. The pages
 * stay in RAM (RLIMIT_MEMLOCK) until they are unmapped; the memory must stay the caller's until
 * then.
 *
 * MAP fails with -EINVAL (flags, length), -ERANGE (the IOVA is not one the IOMMU can translate),
 * -EADDRINUSE (it is taken), -ENOSPC (no room below the limit that `dma_bits` sets), -ENOMEM
 * (RLIMIT_MEMLOCK), -EFAULT (no memory there, or read-only and the device would write),
 * -EOPNOTSUPP (no IOMMU); UNMAP with -ENOENT.
 */
struct hal_vfio_dma {
    uint64_t address; /**< of the first byte, in this process */
    uint64_t length;  /**< bytes, 1 or more */
    uint64_t iova;  /**< of the first byte, for devices; HAL_VFIO_IOVA_ANY. Within its page it lies
                         where the address does. */
    uint32_t flags; /**< enum hal_vfio_dma_flag, or-ed; one at least */
    uint32_t reserved;
};

HAL_END_DECLS

#endif
