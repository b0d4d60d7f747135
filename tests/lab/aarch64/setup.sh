#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs in the aarch64 guest before anything else: drivers of what its device tree describes, and the
# kernel's simulated devices.
set -euo pipefail

config=/sys/kernel/config
modprobe -a virtio_console spi-gpio i2c-gpio i2c-dev lab_i2c lab_spi lab_pwm gpio-sim dma-heap vfio-pci
mountpoint -q $config || mount -t configfs configfs $config
chip=$config/gpio-sim/lab
mkdir -p $chip/bank0/line0
printf 8 >$chip/bank0/num_lines
printf lab-gpio >$chip/bank0/label
printf BUTTON >$chip/bank0/line0/name
printf 1 >$chip/live
