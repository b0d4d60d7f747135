/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/cache.h
 * @brief Move data between the processor's caches and memory, and order it.
 *
 * For memory that somebody else looks at without asking the caches: persistent memory, memory
 * shared with another host over CXL, buffers of a device that is not coherent. Which instruction
 * does the work is chosen once, when the library is loaded, from what the processor and the kernel
 * offer; hal_cache_info() tells which and why, and hal_cache_query() whether a mapping needs any
 * of this. docs/cache.md has the architectures' rules, section by section.
 *
 * ## Fences
 * hal_cache_writeback(), hal_cache_flush() and hal_cache_invalidate() only *start* the work, so
 * that many ranges can share one fence: they are complete after hal_fence_store() (write back) or
 * hal_fence_full() (all three). hal_cache_persist(), hal_cxl_sync(), hal_copy_nt(), hal_fill_nt()
 * and the forms for many ranges contain their one fence and are complete when they return. No
 * fence is needed *before* any of them: on all three architectures a cache operation comes after
 * the same thread's earlier stores to the same line.
 *
 * ## Ranges
 * Any address and length; the lines that hold its first and last byte are treated whole. Length 0
 * does nothing. Every byte must be mapped, as for a load.
 *
 * ## Results
 * 0, or a negative errno: -EFAULT (NULL, or a range that wraps around the address space), or
 * -EOPNOTSUPP when this processor and kernel give user programs no instruction for it. A full
 * fence is then executed all the same, which is enough for coherent memory.
 *
 * ## Threads
 * Every function may be called from any thread, and, but for hal_cache_measure() and
 * hal_cache_query(), from a signal handler as long as it succeeds. Nothing here takes a lock.
 *
 * ## Choosing by hand
 * The environment variable HAL_CACHE, read when the library is loaded (and ignored in set-user-ID
 * programs), names instructions to use in place of the best ones, separated by commas:
 * "clflushopt", "clflush,movnti", "cvac". One that the processor lacks is refused, never executed;
 * hal_cache_info() says so.
 */
#ifndef HAL_CACHE_H
#define HAL_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

/** What can be done to a range, or between accesses. */
enum hal_cache_op {
    HAL_CACHE_WRITEBACK = 0,  /**< write dirty lines to memory; they may stay cached */
    HAL_CACHE_FLUSH,          /**< write dirty lines to memory and drop them */
    HAL_CACHE_INVALIDATE,     /**< drop lines; see hal_cache_invalidate() */
    HAL_CACHE_PERSIST,        /**< write back as far as power loss demands, then store fence */
    HAL_CACHE_SYNC,           /**< flush, then full fence */
    HAL_CACHE_PREFETCH_READ,  /**< a hint: will be read soon */
    HAL_CACHE_PREFETCH_WRITE, /**< a hint: will be written soon */
    HAL_CACHE_COPY,           /**< hal_copy_nt() */
    HAL_CACHE_FILL,           /**< hal_fill_nt() */
    HAL_CACHE_FENCE_STORE,
    HAL_CACHE_FENCE_LOAD,
    HAL_CACHE_FENCE_FULL
};

/** Number of operations in enum hal_cache_op. */
#define HAL_CACHE_OPS 12

/* ---- one range ------------------------------------------------------------------------------- */

/** @brief Start to write back a range; complete after hal_fence_store(). */
HAL_API int hal_cache_writeback(const void *ptr, size_t len);

/** @brief Start to write back and drop a range; complete after hal_fence_full(). */
HAL_API int hal_cache_flush(const void *ptr, size_t len);

/**
 * @brief Start to drop a range, so that later loads see what others wrote to memory; complete
 *        after hal_fence_full().
 *
 * Discarding changed data is the kernel's privilege on all three architectures (INVD, DC IVAC,
 * CBO.INVAL). So lines that this processor has changed are written back first, over what others
 * may have written: flush the range before you hand it over, and do not write to it until it is
 * yours again.
 */
HAL_API int hal_cache_invalidate(const void *ptr, size_t len);

/**
 * @brief Make a range survive power loss: write back to the point of persistence, then store
 *        fence. Complete on return.
 *
 * -EOPNOTSUPP also when the processor knows no point of persistence (AArch64 without DCPOP): the
 * range has then been written back to the point of coherency.
 */
HAL_API int hal_cache_persist(const void *ptr, size_t len);

/**
 * @brief Hand a range over to, or take it over from, another host or a device that is not
 *        coherent: flush, then one full fence. Complete on return.
 */
HAL_API int hal_cxl_sync(const void *ptr, size_t len);

/**
 * @brief Copy around the caches, where the processor can; then as hal_cache_persist() of @p dst.
 * @param dst  Where to. Ordinary, persistent or write-combining memory, not device registers.
 * @param src  Where from; must not overlap @p dst (-EINVAL).
 * @param len  Bytes.
 *
 * The bytes are copied even when -EOPNOTSUPP is returned. Worth it for large blocks that will not
 * be read soon.
 */
HAL_API int hal_copy_nt(void *dst, const void *src, size_t len);

/** @brief Fill with @p byte, as hal_copy_nt() copies. */
HAL_API int hal_fill_nt(void *dst, int byte, size_t len);

/** @brief Hint that a range will be read soon. Never fails, never faults. */
HAL_API void hal_prefetch_read(const void *ptr, size_t len);

/** @brief Hint that a range will be written soon. Never fails, never faults. */
HAL_API void hal_prefetch_write(const void *ptr, size_t len);

/* ---- many ranges, one fence ------------------------------------------------------------------ */

/**
 * @brief One operation on several ranges, with one fence at the end.
 * @param op      HAL_CACHE_WRITEBACK .. HAL_CACHE_PREFETCH_WRITE. Other than alone, WRITEBACK ends
 *                with a store fence, FLUSH and INVALIDATE with a full one: complete on return.
 * @param ranges  The ranges; nothing is done when one of them is refused.
 * @param count   How many; 0 is only the fence.
 * @return 0, -EINVAL (@p op), or as for one range.
 */
HAL_API int hal_cache_ranges(enum hal_cache_op op, const struct iovec *ranges, size_t count);

/** Most dimensions hal_cache_strided() takes; that of Python's buffer protocol. */
#define HAL_CACHE_DIMENSIONS_MAX 64

/**
 * @brief One operation on the lines that a strided array touches, and no others, with one fence at
 *        the end as in hal_cache_ranges().
 * @param op          HAL_CACHE_WRITEBACK .. HAL_CACHE_PREFETCH_WRITE.
 * @param ptr         The element with all indices 0.
 * @param itemsize    Bytes of an element.
 * @param dimensions  0 .. HAL_CACHE_DIMENSIONS_MAX; 0 is one element.
 * @param shape       Elements along each dimension; one of them 0: there are none.
 * @param strides     Bytes from one element to the next, negative or 0 (a broadcast) as well.
 * @return 0, -EINVAL (@p op, negative shape), -E2BIG (dimensions), or as for one range.
 *
 * The arguments are those of Py_buffer and of numpy's __array_interface__. Each line is treated
 * once, unless the array overlaps itself in a way that no order of its dimensions resolves (a
 * sliding window, say): then some lines are treated again.
 */
HAL_API int hal_cache_strided(enum hal_cache_op op, const void *ptr, size_t itemsize,
                              size_t dimensions, const ssize_t *shape, const ssize_t *strides);

/* ---- fences ---------------------------------------------------------------------------------- */

/**
 * @brief Earlier stores, non-temporal stores and write-backs of this thread come before any later
 *        store, for every observer: other processors, devices, and power loss.
 */
HAL_API void hal_fence_store(void);

/** @brief Earlier loads of this thread come before any later load or store. */
HAL_API void hal_fence_load(void);

/** @brief All earlier accesses and cache operations of this thread come before any later ones. */
HAL_API void hal_fence_full(void);

/* ---- what is in use, and what it costs ------------------------------------------------------- */

/** @brief Bytes of a cache line, as the cache operations count: a power of two. Never fails. */
HAL_API size_t hal_cache_line(void);

/** How one operation is done. */
struct hal_cache_choice {
    const char *instruction; /**< "clwb", or what HAL_CACHE calls it; NULL: nothing can do it */
    const char *reason;      /**< why this one, or why none; static, do not free */
    char alternatives[64];   /**< others that this processor has, separated by spaces */
};

/** What hal_cache_info() tells. Strings are static; do not free them. */
struct hal_cache_info {
    const char *architecture; /**< "x86-64", "aarch64", "riscv64" */
    const char *requested;    /**< HAL_CACHE as it was read; NULL: not set */
    const char *refused;      /**< which part of it could not be followed, and why; NULL: none */
    uint64_t line;            /**< hal_cache_line() */
    struct hal_cache_choice choices[HAL_CACHE_OPS]; /**< by enum hal_cache_op */
};

/**
 * @brief Which instructions are in use, and why.
 * @param out   Filled in.
 * @param size  sizeof(*out), so that the structure can grow: an older program gets what it knows.
 * @return 0, -EFAULT, -EINVAL (size 0). Any thread.
 */
HAL_API int hal_cache_info(struct hal_cache_info *out, size_t size);

/** @brief "writeback", "persist" ...: an operation's name. Static; NULL for an unknown one. */
HAL_API const char *hal_cache_op_name(enum hal_cache_op op);

/**
 * @brief Measured costs, nanoseconds, medians. 0: not measured, because it is not supported.
 *
 * Every figure but a fence's includes reading the range again afterwards, one load a line, so that
 * write-backs which go on after the fence, and the misses that a flush leaves behind, are counted.
 */
struct hal_cache_cost {
    double line_ns[HAL_CACHE_OPS];  /**< one line and its fence; a fence alone */
    double block_ns[HAL_CACHE_OPS]; /**< 64 KiB and one fence */
    double read_line_ns;            /**< the reading alone, lines dirty in the cache */
    double read_block_ns;
};

/**
 * @brief Measure, on memory of the library's own. Takes some milliseconds.
 * @param out   Filled in.
 * @param size  sizeof(*out); as in hal_cache_info().
 * @return 0, -EFAULT, -EINVAL (size 0), -ENOMEM. Any thread.
 */
HAL_API int hal_cache_measure(struct hal_cache_cost *out, size_t size);

/* ---- does a mapping need it? ----------------------------------------------------------------- */

enum hal_memory_kind {
    HAL_MEMORY_UNKNOWN = 0,
    HAL_MEMORY_ORDINARY,        /**< memory that processors and coherent devices share */
    HAL_MEMORY_PERSISTENT,      /**< survives power loss */
    HAL_MEMORY_CXL,             /**< volatile memory of a CXL device */
    HAL_MEMORY_WRITE_COMBINING, /**< of a device; stores are gathered, loads are not cached */
    HAL_MEMORY_UNCACHED         /**< of a device; every access goes there */
};

enum hal_flush_need {
    HAL_FLUSH_UNKNOWN = 0, /**< `reason` says what is not known */
    HAL_FLUSH_NEEDED,      /**< stores arrive only when the range is written back or flushed */
    HAL_FLUSH_NOT_NEEDED   /**< a fence is enough */
};

enum hal_mapping_flag {
    HAL_MAPPING_SHARED = 1, /**< MAP_SHARED */
    HAL_MAPPING_SYNC = 2,   /**< MAP_SYNC: no fsync(2) is needed besides the write-back */
    HAL_MAPPING_DAX = 4,    /**< of a file, without page cache */
    HAL_MAPPING_IO = 8      /**< device memory (VM_IO or VM_PFNMAP) */
};

/** What hal_cache_query() tells. */
struct hal_mapping_facts {
    uint64_t start; /**< first address of the mapping, or of the row of alike ones */
    uint64_t end;   /**< first address after it */
    enum hal_memory_kind kind;
    enum hal_flush_need flush;
    uint32_t flags;   /**< enum hal_mapping_flag, or-ed */
    char path[256];   /**< what is mapped, as /proc/self/maps names it; "": anonymous */
    char device[64];  /**< the device behind it, as sysfs names it; "": none, or not known */
    char domain[32];  /**< the region's persistence_domain; "": none, or not told */
    char reason[256]; /**< one sentence: where the answer comes from */
};

/**
 * @brief Ask the kernel what a mapping is, and whether its stores need a flush.
 * @param ptr   Begin of the range, mapped in this process.
 * @param len   Its bytes; 0 is taken for 1. Over mappings that differ the answer is "unknown".
 * @param out   Filled in.
 * @param size  sizeof(*out); as in hal_cache_info().
 * @return 0, -EFAULT (NULL, or not mapped), -EINVAL (size 0), or why /proc cannot be read. Any
 *         thread; reads /proc/self/maps, smaps and sysfs: milliseconds.
 *
 * "Not needed" speaks of processors, coherent devices and power loss. Sources: proc(5), the
 * kernel's ABI/testing/sysfs-bus-nfit, -bus-nd, -bus-cxl, -bus-dax, -bus-pci.
 */
HAL_API int hal_cache_query(const void *ptr, size_t len, struct hal_mapping_facts *out,
                            size_t size);

/** @brief "write-combining" ...: a kind's name. Static; "unknown" for an unknown one. */
HAL_API const char *hal_memory_kind_name(enum hal_memory_kind kind);

HAL_END_DECLS

#endif
