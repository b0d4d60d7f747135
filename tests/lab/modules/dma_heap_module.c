/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's dma-buf heaps with their system heap as one module: upstream both are built in only.
 * There is no exit: like upstream, a heap stays.
 */
#include <linux/dma-buf.h>
#include <linux/module.h>

#undef subsys_initcall
#undef module_init
#define subsys_initcall(fn)
#define module_init(fn)
#include "dma-heap.c"
#include "system_heap.c"

int init_module(void);
int init_module(void)
{
    int err = dma_heap_init();

    return err ? err : system_heap_create();
}

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("dma-buf heaps");
MODULE_IMPORT_NS(DMA_BUF);
