/* SPDX-License-Identifier: Apache-2.0 */
/* AArch64. Sources: Arm Architecture Reference Manual, DDI 0487: "Cache support" in "The AArch64
 * System Level Memory Model", CTR_EL0, DSB; the kernel's Documentation/arch/arm64/elf_hwcaps.rst.
 */
#if defined(__aarch64__)
#include <string.h>
#include <sys/auxv.h>

#include "cache.h"

#define BLOCK 64 /* of the store methods */

enum { DCPOP = 1, DCPODP = 2 };

/* asm/hwcap.h; spelled out, since a cross compiler may lack the newer ones. */
#define HWCAP_HAS_DCPOP (1ul << 16)
#define HWCAP2_HAS_DCPODP (1ul << 0)

const char cache_architecture[] = "aarch64";
const char cache_missing[] = "AArch64 has this always";

/* Linux sets SCTLR_EL1.UCI, so that CVAC, CIVAC and CTR_EL0 may be used at EL0. CVAP and CVADP are
 * judged by the kernel's word alone: the ID registers tell what one core can, not all of them. */
COLD void cache_detect(struct cache_cpu *cpu)
{
    uint64_t ctr;

    __asm__("mrs %0, ctr_el0" : "=r"(ctr));
    *cpu = (struct cache_cpu){.line = 4u << (ctr >> 16 & 15), .block = BLOCK};
    if (getauxval(AT_HWCAP) & HWCAP_HAS_DCPOP)
        cpu->features |= DCPOP;
    if (getauxval(AT_HWCAP2) & HWCAP2_HAS_DCPODP)
        cpu->features |= DCPODP;
}

#define RANGE(name, text)                                                                          \
    static void name##_range(uintptr_t line, uintptr_t end, size_t step)                           \
    {                                                                                              \
        for (; line < end; line += step)                                                           \
            CACHE_LINE(#name, line, text);                                                         \
    }

RANGE(cvac, "dc cvac, %0")
RANGE(civac, "dc civac, %0")
RANGE(cvap, "sys #3, c7, c12, #1, %0")  /* dc cvap, in words older assemblers know */
RANGE(cvadp, "sys #3, c7, c13, #1, %0") /* dc cvadp */
RANGE(pldl1keep, "prfm pldl1keep, [%0]")
RANGE(pstl1keep, "prfm pstl1keep, [%0]")

/* Store pairs with a non-temporal hint. It is only a hint, so what was stored is written back
 * afterwards like anything else. */
static void stnp_store(char *dst, const char *src, size_t len, size_t step)
{
    for (; len; len -= BLOCK, dst += BLOCK, src += step) {
        __asm__ volatile("ldp q0, q1, [%1]\n\tldp q2, q3, [%1, #32]\n\t"
                         "stnp q0, q1, [%0]\n\tstnp q2, q3, [%0, #32]"
                         :
                         : "r"(dst), "r"(src)
                         : "v0", "v1", "v2", "v3", "memory");
        CACHE_STORED("stnp", dst, BLOCK);
    }
}

static const char cvac_weak[] = "no point of persistence is known (no HWCAP_DCPOP): written back "
                                "to the point of coherency";

#define DROP (OP(FLUSH) | OP(INVALIDATE) | OP(SYNC))

const struct cache_method cache_methods[] = {
    {"cvap", "HWCAP_DCPOP", DCPOP, OP(PERSIST), NULL, false, cvap_range, NULL},
    {"cvadp", "HWCAP2_DCPODP", DCPODP, OP(PERSIST), NULL, false, cvadp_range, NULL},
    {"cvac", "part of AArch64", 0, OP(WRITEBACK) | OP(PERSIST), cvac_weak, false, cvac_range, NULL},
    {"civac", "part of AArch64", 0, DROP, NULL, false, civac_range, NULL},
    {"pldl1keep", "part of AArch64", 0, OP(PREFETCH_READ), NULL, false, pldl1keep_range, NULL},
    {"pstl1keep", "part of AArch64", 0, OP(PREFETCH_WRITE), NULL, false, pstl1keep_range, NULL},
    {"stnp", "part of AArch64", 0, OP(COPY) | OP(FILL), NULL, false, NULL, stnp_store},
};
const size_t cache_method_count = sizeof(cache_methods) / sizeof(cache_methods[0]);

#else
typedef int not_aarch64; /* ISO C wants a declaration in every file */
#endif
