/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/dmabuf.h
 * @brief Requests of dma-buf devices (driver `dmabuf`) for hal_control(): buffers that cameras,
 *        encoders, GPUs and accelerators share without a copy.
 *
 * `dmabuf:system?size=1MiB` allocates from /dev/dma_heap/system; `dmabuf:fd:7` takes a descriptor
 * that another driver or process has given. hal_map() maps it; hal_fd() becomes readable when no
 * device writes to the buffer any more, and writable when none uses it.
 *
 * The processor's accesses to a mapping stand between HAL_DMABUF_BEGIN and HAL_DMABUF_END, with the
 * same flags: the kernel then does what the devices need (waits for their fences, writes back or
 * drops cache lines). hal_read_at() and hal_write_at() do it themselves.
 * Source: the kernel's Documentation/driver-api/dma-buf.rst, include/uapi/linux/dma-buf.h.
 */
#ifndef HAL_DMABUF_H
#define HAL_DMABUF_H

#include <stdint.h>

#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

enum hal_dmabuf_request {
    HAL_DMABUF_FD = 0x4401,    /**< no arg. Returns a new descriptor of the buffer, close-on-exec;
                                    the caller owns it, sends it (SCM_RIGHTS), closes it. */
    HAL_DMABUF_BEGIN = 0x4402, /**< arg: struct hal_dmabuf_access. Waits for the devices' fences; a
                                    signal gives -EINTR. Returns 0. */
    HAL_DMABUF_END = 0x4403    /**< arg: struct hal_dmabuf_access, as at BEGIN. Returns 0. */
};

enum hal_dmabuf_flag {
    HAL_DMABUF_READ = 1, /**< the processor reads */
    HAL_DMABUF_WRITE = 2 /**< the processor writes */
};

/** What the processor is going to do, or has done. */
struct hal_dmabuf_access {
    uint32_t flags; /**< enum hal_dmabuf_flag, or-ed; one at least */
};

HAL_END_DECLS

#endif
