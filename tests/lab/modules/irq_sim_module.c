/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's interrupt simulator as a module: upstream it can only be built in, and one of the
 * functions it calls is not exported to modules.
 */
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/module.h>

#define irq_to_desc(irq) irq_data_to_desc(irq_get_irq_data(irq))
#include "irq_sim.c"

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Interrupt simulator");
