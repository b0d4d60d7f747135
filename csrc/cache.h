/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the cache operations share. One cache_ARCH.c knows the instructions and how to
 * find out about them; cache.c chooses and does everything else. */
#ifndef HAL_CACHE_INTERNAL_H
#define HAL_CACHE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hal/cache.h>

/* With HAL_CACHE_RECORD (a test's own copy of these files) cache and fence instructions are noted
 * in place of being executed, so that the very loops of this library can be checked. Stores are
 * noted and executed. */
#ifdef HAL_CACHE_RECORD
void cache_record(const char *instruction, uintptr_t address);
#define CACHE_LINE(name, address, text) cache_record(name, address)
#define CACHE_FENCE(name) cache_record(name, 0)
#define CACHE_STORED(name, address, len) cache_record_store(name, address, len)
void cache_record_store(const char *instruction, const void *address, size_t len);
#else
#define CACHE_LINE(name, address, text) __asm__ volatile(text : : "r"(address) : "memory")
#define CACHE_FENCE(name) __asm__ volatile(name : : : "memory")
#define CACHE_STORED(name, address, len) ((void)0)
#endif

/* Store fences here also order cache operations and non-temporal stores; docs/cache.md has the
 * manuals' sections. On AArch64 only a DSB for loads and stores waits for cache operations, and
 * only one for the full system reaches behind the processors' own domain. */
#if defined(__x86_64__)
#define FENCE_STORE "sfence"
#define FENCE_LOAD "lfence"
#define FENCE_FULL "mfence"
#elif defined(__aarch64__)
#define FENCE_STORE "dsb sy"
#define FENCE_LOAD "dmb oshld"
#define FENCE_FULL "dsb sy"
#elif defined(__riscv)
#define FENCE_STORE "fence ow,ow"
#define FENCE_LOAD "fence ir,iorw"
#define FENCE_FULL "fence iorw,iorw"
#else
#error "libhal has cache operations for x86-64, AArch64 and RISC-V only"
#endif

/* Where size matters and speed does not; what only such functions call is small as well. */
#define COLD __attribute__((cold))

#define OP(name) (1u << HAL_CACHE_##name)

/* What a processor offers. `features` are bits of each architecture's own. */
struct cache_cpu {
    uint32_t features;
    uint32_t line;  /* bytes that one cache instruction treats */
    uint32_t block; /* bytes that the `store` methods write at a time */
};

/* One instruction, or way, to do some operations. */
struct cache_method {
    const char *name; /* also in HAL_CACHE */
    const char *fact; /* how one knows that a processor has it */
    uint32_t needs;   /* features; 0: always there */
    uint32_t ops;     /* OP(..), or-ed */
    const char *weak; /* why persisting with it is less than was asked for, else NULL */
    bool bypass;      /* stores leave nothing in the cache */
    /* One of the two. Every line of [line, end), `line` being aligned: */
    void (*range)(uintptr_t line, uintptr_t end, size_t step);
    /* Whole blocks, dst being aligned; after each the source moves on by `step`: a block to copy,
     * 0 to fill with the one block that is there. */
    void (*store)(char *dst, const char *src, size_t len, size_t step);
};

/* The architecture's own. Methods stand in order of preference. */
extern const char cache_architecture[];
extern const struct cache_method cache_methods[];
extern const size_t cache_method_count;
extern const char cache_missing[]; /* why there may be no method for an operation */
void cache_detect(struct cache_cpu *cpu);

/* What is in use. */
struct cache_choice {
    const struct cache_method *method[HAL_CACHE_OPS];
    uint32_t asked; /* operations whose method HAL_CACHE named */
    struct cache_cpu cpu;
    char requested[64];
    char refused[192];
};

/* The best method of each operation, then what `wanted` (HAL_CACHE, or NULL) names. */
void cache_choose(struct cache_choice *out, const struct cache_cpu *cpu, const char *wanted);
extern struct cache_choice cache_chosen;

/* hal_cache_query() with the /proc and /sys below `root`, "" for the real ones. */
int cache_query(const char *root, uintptr_t start, uintptr_t end, struct hal_mapping_facts *out);

#endif
