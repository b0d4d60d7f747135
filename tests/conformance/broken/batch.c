/* SPDX-License-Identifier: Apache-2.0 */
/* Does the stores of a batch first, as if the loads between them could wait. */
#include "memory.h"

static void do_those(struct hal_device *dev, struct hal_operation *operations, size_t count,
                     uint32_t kind)
{
    for (size_t i = 0; i < count; i++) {
        struct hal_operation *one = &operations[i];

        if (one->kind != kind)
            continue;
        one->result = kind == HAL_OPERATION_STORE
                          ? memory_store(dev, one->offset, one->width, one->word)
                          : memory_load(dev, one->offset, one->width, &one->word);
    }
}

static int batch(struct hal_device *dev, struct hal_operation *operations, size_t count,
                 hal_deadline until)
{
    (void)until;
    do_those(dev, operations, count, HAL_OPERATION_STORE);
    do_those(dev, operations, count, HAL_OPERATION_LOAD);
    return 0;
}

static const struct driver_ops ops = {MEMORY_OPS, .batch = batch};

HAL_PLUGIN("batch", &ops, "1.0");
