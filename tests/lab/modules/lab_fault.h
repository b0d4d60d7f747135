/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Module parameters that make transfers fail on demand, the same for every bus of the lab:
 *   fail_skip N     let the next N transfers through, then
 *   fail_next N     fail N transfers (-1: all of them)
 *   fail_with E     with this error number, e.g. 6 ENXIO, 5 EIO, 11 EAGAIN, 110 ETIMEDOUT
 *   delay_us N      let every transfer last this long, as a slow bus does
 */
#ifndef LAB_FAULT_H
#define LAB_FAULT_H

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/spinlock.h>

static int fail_skip, fail_next, fail_with = EIO;
static uint delay_us;
module_param(fail_skip, int, 0644);
module_param(fail_next, int, 0644);
module_param(fail_with, int, 0644);
module_param(delay_us, uint, 0644);

static DEFINE_SPINLOCK(lab_fault_lock);

/* Sleeps for delay_us and gives the error this transfer is to fail with, or 0. */
static int lab_fault(void)
{
    int err = 0;

    if (delay_us)
        fsleep(delay_us);
    spin_lock(&lab_fault_lock);
    if (fail_next && fail_skip > 0) {
        fail_skip--;
    } else if (fail_next) {
        if (fail_next > 0)
            fail_next--;
        err = -fail_with;
    }
    spin_unlock(&lab_fault_lock);
    return err;
}

#endif
