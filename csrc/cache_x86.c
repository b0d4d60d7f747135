/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64. Sources: Intel SDM (order number 325462) vol. 2 at each instruction, vol. 3 section
 * "Memory ordering"; AMD64 APM vol. 2 section "Memory system", vol. 3 at each instruction. */
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "cache.h"

#define BLOCK 64 /* of the store methods; the line of every x86-64 processor there is */

enum {
    CLFLUSH = 1,
    CLFLUSHOPT = 2,
    CLWB = 4,
    PREFETCHW = 8,
    AVX = 16,
    AVX512 = 32,
    MOVDIR64B = 64
};

const char cache_architecture[] = "x86-64";
const char cache_missing[] = "CPUID lists no CLFLUSH, CLFLUSHOPT or CLWB";

/* XCR0: which registers the kernel saves; without that the processor must not use them. */
static uint32_t saved_registers(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

#define BIT(n) (1u << (n))

COLD void cache_detect(struct cache_cpu *cpu)
{
    uint32_t a, b, c, d, xcr0 = 0;

    *cpu = (struct cache_cpu){.line = BLOCK, .block = BLOCK};
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        if (d & BIT(19)) {
            cpu->features |= CLFLUSH;
            cpu->line = (b >> 8 & 0xff) ? (b >> 8 & 0xff) * 8 : BLOCK;
        }
        if (c & BIT(27)) /* OSXSAVE */
            xcr0 = saved_registers();
        if (c & BIT(28) && (xcr0 & 0x06) == 0x06)
            cpu->features |= AVX;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        if (b & BIT(23))
            cpu->features |= CLFLUSHOPT;
        if (b & BIT(24))
            cpu->features |= CLWB;
        if (b & BIT(16) && (xcr0 & 0xe6) == 0xe6)
            cpu->features |= AVX512;
        if (c & BIT(28))
            cpu->features |= MOVDIR64B;
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d) && c & BIT(8))
        cpu->features |= PREFETCHW;
}

#define RANGE(name, text)                                                                          \
    static void name##_range(uintptr_t line, uintptr_t end, size_t step)                           \
    {                                                                                              \
        for (; line < end; line += step)                                                           \
            CACHE_LINE(#name, line, text);                                                         \
    }

RANGE(clwb, "clwb (%0)")
RANGE(clflushopt, "clflushopt (%0)")
RANGE(clflush, "clflush (%0)")
RANGE(prefetcht0, "prefetcht0 (%0)")
RANGE(prefetchw, "prefetchw (%0)")

static void movnti_store(char *dst, const char *src, size_t len, size_t step)
{
    for (; len; len -= BLOCK, dst += BLOCK, src += step) {
        long long words[BLOCK / 8];

        memcpy(words, src, BLOCK);
        for (size_t i = 0; i < BLOCK / 8; i++)
            _mm_stream_si64((long long *)dst + i, words[i]);
        CACHE_STORED("movnti", dst, BLOCK);
    }
}

__attribute__((target("avx"))) static void avx_store(char *dst, const char *src, size_t len,
                                                     size_t step)
{
    for (; len; len -= BLOCK, dst += BLOCK, src += step) {
        __m256i low = _mm256_loadu_si256((const __m256i *)src);
        __m256i high = _mm256_loadu_si256((const __m256i *)src + 1);

        _mm256_stream_si256((__m256i *)dst, low);
        _mm256_stream_si256((__m256i *)dst + 1, high);
        CACHE_STORED("avx", dst, BLOCK);
    }
}

__attribute__((target("avx512f"))) static void avx512_store(char *dst, const char *src, size_t len,
                                                            size_t step)
{
    for (; len; len -= BLOCK, dst += BLOCK, src += step) {
        _mm512_stream_si512((__m512i *)dst, _mm512_loadu_si512(src));
        CACHE_STORED("avx512", dst, BLOCK);
    }
}

static void movdir64b_store(char *dst, const char *src, size_t len, size_t step)
{
    for (; len; len -= BLOCK, dst += BLOCK, src += step) {
        __asm__ volatile("movdir64b (%1), %0" : : "r"(dst), "r"(src) : "memory");
        CACHE_STORED("movdir64b", dst, BLOCK);
    }
}

#define BACK (OP(WRITEBACK) | OP(PERSIST))
#define DROP (OP(FLUSH) | OP(INVALIDATE) | OP(SYNC))
#define STORE (OP(COPY) | OP(FILL))

const struct cache_method cache_methods[] = {
    {"clwb", "CPUID 07H, EBX bit 24", CLWB, BACK, NULL, false, clwb_range, NULL},
    {"clflushopt", "CPUID 07H, EBX bit 23", CLFLUSHOPT, BACK | DROP, NULL, false, clflushopt_range,
     NULL},
    {"clflush", "CPUID 01H, EDX bit 19", CLFLUSH, BACK | DROP, NULL, false, clflush_range, NULL},
    {"prefetchw", "CPUID 80000001H, ECX bit 8", PREFETCHW, OP(PREFETCH_WRITE), NULL, false,
     prefetchw_range, NULL},
    {"prefetcht0", "part of x86-64", 0, OP(PREFETCH_READ) | OP(PREFETCH_WRITE), NULL, false,
     prefetcht0_range, NULL},
    {"movdir64b", "CPUID 07H, ECX bit 28", MOVDIR64B, STORE, NULL, true, NULL, movdir64b_store},
    {"avx512", "CPUID 07H, EBX bit 16, and XCR0", AVX512, STORE, NULL, true, NULL, avx512_store},
    {"avx", "CPUID 01H, ECX bit 28, and XCR0", AVX, STORE, NULL, true, NULL, avx_store},
    {"movnti", "part of x86-64", 0, STORE, NULL, true, NULL, movnti_store},
};
const size_t cache_method_count = sizeof(cache_methods) / sizeof(cache_methods[0]);

#else
typedef int not_x86; /* ISO C wants a declaration in every file */
#endif
