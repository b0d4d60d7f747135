/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated design looks like: a shared object that defines `verilated_model`. It is made of
 * Verilog by Verilator and of axi_lite.cpp. One thread at a time uses an instance. */
#ifndef VERILATED_MODEL_H
#define VERILATED_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define VERILATED_ABI 1

/* Answers on the bus, as AXI has them, and one that it has not. */
enum verilated_answer {
    VERILATED_OKAY = 0,
    VERILATED_SLVERR = 2,
    VERILATED_DECERR = 3,
    VERILATED_NONE = 4 /* it did not answer within 1000 clocks */
};

struct verilated_model {
    uint32_t abi;          /* VERILATED_ABI */
    uint32_t size;         /* bytes of its address space */
    const char *design;    /* the name of its top module */
    void *(*create)(void); /* out of reset; NULL: no memory */
    void (*destroy)(void *instance);
    enum verilated_answer (*write)(void *instance, uint32_t address, uint32_t value);
    enum verilated_answer (*read)(void *instance, uint32_t address, uint32_t *value);
    void (*clock)(void *instance, uint32_t cycles);
    bool (*interrupt)(void *instance);  /* the level of `irq` */
    uint64_t (*cycles)(void *instance); /* clocks since it was created */
};

#endif
