# SPDX-License-Identifier: Apache-2.0
"""Every device of the x86-64 guest: where it is and how to turn its knobs from the other side.

Constants are what is always the same; a function finds what the kernel numbers as it likes.  The
module can be imported on the host, where it finds nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SERIAL = "/dev/ttyS1"
"""16550A; the host's end is chardev ``serial``."""
USB_SERIAL = "/dev/ttyUSB0"
"""FTDI adapter ``usb0``, which can be unplugged; the host's end is chardev ``usb``."""
GADGET = "/dev/ttyGS0"
"""A USB gadget's side of a serial line of which ``GADGET_PEER`` is the host controller's."""
GADGET_PEER = "/dev/ttyACM0"

LAB_I2C = "lab i2c"
"""Our own adapter: everything I2C can do (modules/lab_i2c.c)."""
I801 = "SMBus I801 adapter"
"""The PC's controller: SMBus only, 256-byte EEPROMs at 0x50 to 0x57."""
I2C_STUB = "SMBus stub driver"
"""The kernel's stub: SMBus only, registers at 0x50 and 0x51."""

EEPROM, SMBUS, SMBUS_PEC, TEN_BIT = 0x50, 0x20, 0x21, 0x2A5
"""Chips of the lab adapter that no kernel driver holds."""
LM75, LTC4215, MAX6650 = 0x48, 0x44, 0x1B
"""Chips of the lab adapter that kernel drivers of these names hold: they are hwmon devices too."""

SPI_WIRE, SPI_EEPROM = "/dev/spidev0.0", "/dev/spidev0.1"
"""Chip selects of our own controller (modules/lab_spi.c)."""

SPI_SPEED = 10_000_000
"""Their speed, in Hz, unless a test sets another."""

GPIO, GPIO_SMALL = "lab-gpio", "lab-gpio-small"
"""Labels of the two simulated GPIO chips, of 16 and 4 lines."""
GPIO_NAMES = {0: "BUTTON", 1: "LED", 2: "RELAY", 3: "SENSOR", 6: "RESET", 7: "STRAP"}
"""Named lines of the first; the kernel holds 6 as an output and 7 as an input."""
GPIO_HOGS = {6: "lab-reset", 7: "lab-strap"}

IIO = "lab-iio"
"""The IIO dummy: voltages, acceleration, steps, activity; events; a buffer."""
IIO_TRIGGERS = ("lab-hrtimer", "sysfstrig0")

EDU = (0x1234, 0x11E8)
"""QEMU's teaching device, three of it: the third sits in a hot-plug slot and is named ``edu2``."""
IVSHMEM = (0x1AF4, 0x1110)
"""Shared memory: BAR 2 is the host's file ``ivshmem``."""

PWM_CHANNELS = 2


def until(condition: Callable[[], T], timeout: float = 15) -> T:
    """Wait until a condition holds and give its value.

    Raises:
        TimeoutError: it did not within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"wait for {condition}: {timeout:.0f} s have passed")
        time.sleep(0.02)
    return value


def one(pattern: str) -> Path:
    """Give the one path that matches an absolute pattern.

    Raises:
        LookupError: none or several do.
    """
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    if len(found) != 1:
        raise LookupError(f'find "{pattern}": {len(found)} of them')
    return found[0]


def named(pattern: str, name: str) -> Path:
    """Give the folder of the one attribute file that matches a pattern and starts with a text."""
    paths = Path("/").glob(pattern.lstrip("/"))
    found = [path.parent for path in paths if path.read_text().startswith(name)]
    if len(found) != 1:
        raise LookupError(f'find "{name}" in "{pattern}": {len(found)} of them')
    return found[0]


def i2c_bus(name: str = LAB_I2C) -> int:
    """Give the number of the I2C bus whose adapter's name starts with this."""
    return int(named("/sys/class/i2c-dev/*/name", name).name.removeprefix("i2c-"))


def gpio_chip(label: str = GPIO) -> str:
    """Give the name, e.g. ``gpiochip0``, of the GPIO chip with this label."""
    for node in sorted(Path("/dev").glob("gpiochip*")):
        chip = bytearray(68)  # struct gpiochip_info: name[32], label[32], lines
        descriptor = os.open(node, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, 0x8044B401, chip)  # GPIO_GET_CHIPINFO_IOCTL
        finally:
            os.close(descriptor)
        if chip[32:64].split(b"\0")[0].decode() == label:
            return node.name
    raise LookupError(f'find GPIO chip "{label}": none')


def iio_device(name: str = IIO) -> Path:
    """Give the sysfs folder of the IIO device or trigger with this name."""
    return named("/sys/bus/iio/devices/*/name", name)


def pwm_chip() -> Path:
    """Give the sysfs folder of our PWM chip."""
    return one("/sys/bus/platform/devices/lab-pwm/pwm/pwmchip*")


def hwmon(name: str) -> Path:
    """Give the sysfs folder of the hwmon device with this name, e.g. ``lm75``."""
    return named("/sys/class/hwmon/*/name", name)


def pci(identity: tuple[int, int]) -> list[Path]:
    """Give the sysfs folders of the PCI devices with this vendor and device id, by address."""
    wanted = "{:#06x} {:#06x}".format(*identity)
    return [
        path
        for path in sorted(Path("/sys/bus/pci/devices").iterdir())
        if f"{_word(path / 'vendor')} {_word(path / 'device')}" == wanted
    ]


@contextmanager
def handed_over(device: Path, driver: str) -> Iterator[str]:
    """Give a PCI device to a kernel driver; afterwards it is whose it was.

    Yields:
        Its address.
    """
    probe = Path("/sys/bus/pci/drivers_probe")
    before = (device / "driver").resolve().name if (device / "driver").exists() else ""
    (device / "driver_override").write_text(driver)
    if before:
        (device / "driver/unbind").write_text(device.name)
    probe.write_text(device.name)
    try:
        yield device.name
    finally:
        if device.exists():
            (device / "driver/unbind").write_text(device.name)
            (device / "driver_override").write_text("\n")
            if before:
                probe.write_text(device.name)


def _word(path: Path) -> str:
    return path.read_text().strip()


@dataclass(frozen=True)
class Dax:
    """Persistent memory as a character device."""

    node: str
    size: int  # bytes
    file: str  # the host's file behind it
    offset: int  # where in that file the device starts


def dax(name: str) -> Dax:
    """Give the devdax of ``nvdimm`` or ``cxl``."""
    namespace = {"nvdimm": "lab-devdax", "cxl": "lab-cxl"}[name]
    place = named("/sys/bus/nd/devices/namespace*/alt_name", namespace)
    region = place.resolve().parent
    number = region.name.removeprefix("region")
    device = Path(f"/sys/bus/dax/devices/dax{number}.0")
    start = int(_word(device / "resource"), 0) - int(_word(region / "resource"), 0)
    return Dax(f"/dev/{device.name}", int(_word(device / "size")), name, start)


def pmem_block() -> str:
    """Give the block device of the NVDIMM's fsdax namespace."""
    place = named("/sys/bus/nd/devices/namespace*/alt_name", "lab-fsdax")
    region = place.resolve().parent.name.removeprefix("region")
    return f"/dev/{one(f'/sys/block/pmem{region}*').name}"


class Module:
    """The parameters of one of our kernel modules: ``lab_i2c``, ``lab_spi``, ``lab_pwm``."""

    _FAULTS = ("fail_next", "fail_skip", "delay_us")

    def __init__(self, name: str) -> None:
        """Choose the module."""
        self._folder = Path("/sys/module") / name / "parameters"
        self._device = name.replace("_", "-")

    def __getitem__(self, parameter: str) -> int:
        """Give a parameter."""
        return int(_word(self._folder / parameter))

    def __setitem__(self, parameter: str, value: int) -> None:
        """Set a parameter."""
        (self._folder / parameter).write_text(str(value))

    def fail(self, error: int, count: int = 1, skip: int = 0) -> None:
        """Make ``count`` transfers (-1: all) fail with an errno, after ``skip`` good ones."""
        self["fail_with"], self["fail_skip"], self["fail_next"] = error, skip, count

    def log(self) -> list[str]:
        """Give the lines of what has happened on the bus since the last call."""
        lines = (self._folder / "log").read_text().splitlines()
        self.clear()
        return lines

    def clear(self) -> None:
        """Forget what has happened so far."""
        (self._folder / "log").write_text("0")

    def reset(self) -> None:
        """No faults, no delay, an empty log."""
        for parameter in self._FAULTS:
            self[parameter] = 0
        self.clear()

    def remove(self) -> None:
        """Pull the device out.  An I2C adapter that is open makes this wait for its close."""
        Path(f"/sys/bus/platform/drivers/{self._device}/unbind").write_text(self._device)

    def insert(self) -> None:
        """Put the device back, with the drivers that held its chips."""
        Path(f"/sys/bus/platform/drivers/{self._device}/bind").write_text(self._device)
        if self._device == "lab-i2c":
            bus = Path(f"/sys/bus/i2c/devices/i2c-{i2c_bus()}")
            for chip in (f"lm75 {LM75}", f"ltc4215 {LTC4215}", f"max6650 {MAX6650}"):
                (bus / "new_device").write_text(chip)


def spi_defaults() -> None:
    """Give both SPI devices the settings they start with: spidev keeps them from open to open."""
    for node in (SPI_WIRE, SPI_EEPROM):
        descriptor = os.open(node, os.O_RDWR)
        try:
            for request, value in (
                (0x40046B05, struct.pack("I", 0)),  # SPI_IOC_WR_MODE32
                (0x40016B03, struct.pack("B", 8)),  # SPI_IOC_WR_BITS_PER_WORD
                (0x40046B04, struct.pack("I", SPI_SPEED)),  # SPI_IOC_WR_MAX_SPEED_HZ
            ):
                fcntl.ioctl(descriptor, request, value)
        finally:
            os.close(descriptor)


class GpioSim:
    """The far side of a simulated GPIO chip: what pulls at its lines, what it drives."""

    def __init__(self, label: str = GPIO) -> None:
        """Choose the chip."""
        self.chip = gpio_chip(label)
        self._folder = one(f"/sys/devices/platform/gpio-sim.*/{self.chip}")

    def pull(self, line: int, level: int) -> None:
        """Pull an input high or low; a change is an edge."""
        text = "pull-up" if level else "pull-down"
        (self._folder / f"sim_gpio{line}/pull").write_text(text)

    def value(self, line: int) -> int:
        """Give a line's physical level."""
        return int(_word(self._folder / f"sim_gpio{line}/value"))


class Led:
    """A LED with nothing behind it; it exists until closed.

    The kernel's uleds driver (Documentation/leds/uleds.rst): what user space writes to the LED's
    brightness is read from its descriptor.
    """

    def __init__(self, name: str = "lab::status", maximum: int = 255) -> None:
        """Make /sys/class/leds/``name``."""
        self._descriptor = os.open("/dev/uleds", os.O_RDWR)
        os.write(self._descriptor, struct.pack("64si", name.encode(), maximum))
        self.folder = Path("/sys/class/leds") / name

    def brightness(self) -> int:
        """Wait for the next brightness that is set and give it."""
        return int(struct.unpack("i", os.read(self._descriptor, 4))[0])

    def close(self) -> None:
        """Remove the LED."""
        os.close(self._descriptor)
