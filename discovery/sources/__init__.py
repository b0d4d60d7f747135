# SPDX-License-Identifier: Apache-2.0
"""What to look for, and how to describe it: one row a kernel subsystem.

A describing function gets a device's folder and returns what it makes of it, or None when the
folder is not a device of that class (a partition, a virtual terminal).
"""

from __future__ import annotations

from . import (
    accelerator,
    cxl,
    gpio,
    hwmon,
    i2c,
    iio,
    led,
    media,
    memory,
    network,
    pci,
    pwm,
    serial,
    spi,
    usb,
)
from .facts import Context, Facts, Source
from .firmware import firmware
from .hardware import hardware

__all__ = ["SOURCES", "Context", "Facts", "Source", "firmware", "hardware"]

SOURCES = (
    Source("serial", "tty", serial.serial_line),
    Source("i2c", "i2c", i2c.i2c),
    Source("spi", "spi_master", spi.spi_controller),
    Source("spi", "spi", spi.spi),
    Source("gpio", "gpio", gpio.gpio),
    Source("iio", "iio", iio.iio),
    Source("pwm", "pwm", pwm.pwm),
    Source("led", "leds", led.led),
    Source("hwmon", "hwmon", hwmon.hwmon),
    Source("pci", "pci", pci.pci),
    Source("usb", "usb", usb.usb),
    Source("memory", "node", memory.numa_node),
    Source("memory", "dax", memory.dax),
    Source("memory", "block", memory.pmem),
    Source("memory", "nd", memory.nvdimm),
    Source("memory", "cxl", cxl.cxl),
    Source("accelerator", "drm", accelerator.drm),
    Source("accelerator", "accel", accelerator.accel),
    Source("accelerator", "hailo_chardev", accelerator.module),
    Source("accelerator", "apex", accelerator.module),
    Source("accelerator", "pci", accelerator.waiting),
    Source("accelerator", "fpga_manager", accelerator.fpga),
    Source("accelerator", "fpga_region", accelerator.fpga_region),
    Source("accelerator", "remoteproc", accelerator.remoteproc),
    Source("network", "net", network.network),
    Source("video", "video4linux", media.video),
    Source("sound", "sound", media.sound),
)
"""Everything that is looked for. A class may come from several subsystems."""
