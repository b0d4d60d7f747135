// SPDX-License-Identifier: GPL-2.0-only
// The part of the kernel's lib/interval_tree.c that only iommufd needs, so that Debian's kernel has
// the rest of it alone: its three functions, and none of what that kernel has already.
#define CONFIG_INTERVAL_TREE_SPAN_ITER 1

#include <linux/export.h>
#include <linux/module.h>

#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(symbol)

#include "interval_tree.c"

EXPORT_SYMBOL(interval_tree_span_iter_first);
EXPORT_SYMBOL(interval_tree_span_iter_next);
EXPORT_SYMBOL(interval_tree_span_iter_advance);

MODULE_DESCRIPTION("Gaps between the intervals of a tree");
MODULE_LICENSE("GPL");
