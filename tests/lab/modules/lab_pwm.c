/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A PWM chip of two channels with nothing behind it: periods from 1 us to 1 s, both polarities.
 * What was applied is read back from /sys/kernel/debug/pwm and from the log (lab_log.h):
 *   pwm0 period=1000000 duty=250000 enabled=1 inverted=0
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/pwm.h>

#include "lab_fault.h"
#include "lab_log.h"

static struct platform_device *device;

static int lab_apply(struct pwm_chip *chip, struct pwm_device *pwm, const struct pwm_state *state)
{
    int err = lab_fault();

    if (err)
        return err;
    if (state->period < NSEC_PER_USEC || state->period > NSEC_PER_SEC)
        return -EINVAL;
    lab_log("pwm%u period=%llu duty=%llu enabled=%d inverted=%d\n", pwm->hwpwm, state->period,
            state->duty_cycle, state->enabled, state->polarity == PWM_POLARITY_INVERSED);
    return 0;
}

static const struct pwm_ops ops = {
    .apply = lab_apply,
    .owner = THIS_MODULE,
};

static int lab_probe(struct platform_device *pdev)
{
    struct pwm_chip *chip = devm_kzalloc(&pdev->dev, sizeof(*chip), GFP_KERNEL);

    if (!chip)
        return -ENOMEM;
    chip->dev = &pdev->dev;
    chip->ops = &ops;
    chip->npwm = 2;
    return devm_pwmchip_add(&pdev->dev, chip);
}

static struct platform_driver driver = {
    .probe = lab_probe,
    .driver = {.name = "lab-pwm"},
};

static int __init lab_init(void)
{
    int err = platform_driver_register(&driver);

    if (err)
        return err;
    device = platform_device_register_simple("lab-pwm", PLATFORM_DEVID_NONE, NULL, 0);
    if (IS_ERR(device))
        platform_driver_unregister(&driver);
    return PTR_ERR_OR_ZERO(device);
}

static void __exit lab_exit(void)
{
    platform_device_unregister(device);
    platform_driver_unregister(&driver);
}

module_init(lab_init);
module_exit(lab_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("PWM chip for tests");
