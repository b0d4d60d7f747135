/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BLOCK_SIZE 16384
#define ALIGNMENT sizeof(max_align_t)

struct block {
    struct block *next;
    size_t used, size;
    max_align_t bytes[];
};

static struct block *add_block(struct arena *arena, size_t size)
{
    struct block *block;

    if (size < BLOCK_SIZE)
        size = BLOCK_SIZE;
    block = malloc(sizeof(*block) + size);
    if (!block) {
        arena->exhausted = true;
        return NULL;
    }
    block->next = arena->blocks;
    block->used = 0;
    block->size = size;
    arena->blocks = block;
    return block;
}

void *arena_take(struct arena *arena, size_t size)
{
    struct block *block = arena->blocks;
    void *taken;

    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (!block || block->size - block->used < size)
        block = add_block(arena, size);
    if (!block)
        return NULL;
    taken = (char *)block->bytes + block->used;
    block->used += size;
    return memset(taken, 0, size);
}

const char *arena_text(struct arena *arena, const char *text, size_t len)
{
    char *copy = len ? arena_take(arena, len + 1) : NULL;

    return copy ? memcpy(copy, text, len) : "";
}

const char *arena_print(struct arena *arena, const char *format, ...)
{
    char small[512], *large;
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (len < (int)sizeof(small))
        return arena_text(arena, small, len > 0 ? (size_t)len : 0);
    large = arena_take(arena, (size_t)len + 1);
    if (!large)
        return "";
    va_start(args, format);
    vsnprintf(large, (size_t)len + 1, format, args);
    va_end(args);
    return large;
}

void arena_free(struct arena *arena)
{
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->exhausted = false;
}
