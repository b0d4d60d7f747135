/* SPDX-License-Identifier: Apache-2.0 */
/* RISC-V. Sources: RISC-V unprivileged ISA, chapters "CMO" (version 1.0.0) and "RVWMO"; the
 * kernel's Documentation/arch/riscv/hwprobe.rst. */
#if defined(__riscv)
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache.h"

enum { ZICBOM = 1, ZICBOZ = 2 };

#define LINE_UNKNOWN 64 /* what the processors so far have; matters to prefetches only */

/* asm/hwprobe.h; spelled out, since a cross compiler may lack it or the newer keys. */
#define HWPROBE_CALL 258
#define HWPROBE_EXTENSIONS 4
#define HWPROBE_ZICBOZ_SIZE 6
#define HWPROBE_ZICBOM_SIZE 12
#define HWPROBE_HAS_ZICBOZ (1ull << 6)
#define HWPROBE_HAS_ZICBOM (1ull << 55)

struct hwprobe {
    int64_t key;
    uint64_t value;
};

#if __riscv_xlen == 64
const char cache_architecture[] = "riscv64";
#else
const char cache_architecture[] = "riscv32";
#endif
const char cache_missing[] = "riscv_hwprobe lists no Zicbom (user programs may use it from Linux "
                             "6.15 on); a fence is all there is";

/* A property of the first processor in the device tree: a big-endian 32-bit number. */
static uint32_t tree_number(const char *path)
{
    unsigned char bytes[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return 0;
    n = read(fd, bytes, sizeof(bytes));
    close(fd);
    if (n != (ssize_t)sizeof(bytes))
        return 0;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t block_size(const struct hwprobe *answer, const char *tree)
{
    uint64_t size = answer->key < 0 ? tree_number(tree) : answer->value;

    return size >= 8 && size <= 4096 && !(size & (size - 1)) ? (uint32_t)size : 0;
}

/* The kernel's word covers all processors, and that user mode may execute the instruction: an
 * extension named in the device tree alone may still trap. Without a block size nothing is used. */
COLD void cache_detect(struct cache_cpu *cpu)
{
    struct hwprobe ask[3] = {
        {HWPROBE_EXTENSIONS, 0}, {HWPROBE_ZICBOM_SIZE, 0}, {HWPROBE_ZICBOZ_SIZE, 0}};
    uint32_t size;

    *cpu = (struct cache_cpu){.line = LINE_UNKNOWN, .block = LINE_UNKNOWN};
    if (syscall(HWPROBE_CALL, ask, 3, 0, NULL, 0) || ask[0].key < 0)
        return;
    if (ask[0].value & HWPROBE_HAS_ZICBOM) {
        size = block_size(&ask[1], "/proc/device-tree/cpus/cpu@0/riscv,cbom-block-size");
        if (size) {
            cpu->features |= ZICBOM;
            cpu->line = size;
        }
    }
    if (ask[0].value & HWPROBE_HAS_ZICBOZ) {
        size = block_size(&ask[2], "/proc/device-tree/cpus/cpu@0/riscv,cboz-block-size");
        if (size) {
            cpu->features |= ZICBOZ;
            cpu->block = size;
        }
    }
}

#define RANGE(function, name, text)                                                                \
    static void function(uintptr_t line, uintptr_t end, size_t step)                               \
    {                                                                                              \
        for (; line < end; line += step)                                                           \
            CACHE_LINE(name, line, text);                                                          \
    }

/* By their encodings, which every assembler takes: MISC-MEM with funct3 CBO, and the hint that an
 * ORI to x0 is (Zicbop; nothing happens on a processor without). */
RANGE(clean_range, "cbo.clean", ".insn i 0x0f, 2, x0, %0, 1")
RANGE(flush_range, "cbo.flush", ".insn i 0x0f, 2, x0, %0, 2")
RANGE(prefetch_r_range, "prefetch.r", "ori x0, %0, 1")
RANGE(prefetch_w_range, "prefetch.w", "ori x0, %0, 3")

static void memcpy_store(char *dst, const char *src, size_t len, size_t step)
{
    (void)step;
    memcpy(dst, src, len);
    CACHE_STORED("memcpy", dst, len);
}

static void memset_store(char *dst, const char *src, size_t len, size_t step)
{
    (void)step;
    memset(dst, *src, len);
    CACHE_STORED("memset", dst, len);
}

static void zero_store(char *dst, const char *src, size_t len, size_t step)
{
    size_t block = cache_chosen.cpu.block;

    if (*src) {
        memset_store(dst, src, len, step);
        return;
    }
    for (; len; len -= block, dst += block) {
        __asm__ volatile(".insn i 0x0f, 2, x0, %0, 4" : : "r"(dst) : "memory");
        CACHE_STORED("cbo.zero", dst, block);
    }
}

#define BACK (OP(WRITEBACK) | OP(PERSIST))
#define DROP (OP(FLUSH) | OP(INVALIDATE) | OP(SYNC))

const struct cache_method cache_methods[] = {
    {"cbo.clean", "riscv_hwprobe: Zicbom", ZICBOM, BACK, NULL, false, clean_range, NULL},
    {"cbo.flush", "riscv_hwprobe: Zicbom", ZICBOM, BACK | DROP, NULL, false, flush_range, NULL},
    {"prefetch.r", "a hint, harmless without Zicbop", 0, OP(PREFETCH_READ), NULL, false,
     prefetch_r_range, NULL},
    {"prefetch.w", "a hint, harmless without Zicbop", 0, OP(PREFETCH_WRITE), NULL, false,
     prefetch_w_range, NULL},
    {"cbo.zero", "riscv_hwprobe: Zicboz; zeros only", ZICBOZ, OP(FILL), NULL, false, NULL,
     zero_store},
    {"memset", "plain stores", 0, OP(FILL), NULL, false, NULL, memset_store},
    {"memcpy", "plain stores", 0, OP(COPY), NULL, false, NULL, memcpy_store},
};
const size_t cache_method_count = sizeof(cache_methods) / sizeof(cache_methods[0]);

#else
typedef int not_riscv; /* ISO C wants a declaration in every file */
#endif
