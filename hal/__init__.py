# SPDX-License-Identifier: Apache-2.0
r"""Open-AutoGLM HAL: one way to reach every device of an edge-AI machine.

    import hal

    with hal.open("uart:/dev/ttyUSB0", baud=115200) as line:
        line.write(b"*IDN?\n")
        print(line.readline(timeout=1))

A device is opened by a URI, ``driver:address?key=value``, or by a logical name (``hal.bind``).
Errors are classes below ``hal.Error``, itself an ``OSError``. The guide is docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import batch, cache, names
from .attributes import Access, Attribute, Attributes, Value
from .device import Device, Segment
from .errors import (
    Busy,
    Cancelled,
    Closed,
    Error,
    Forked,
    Interrupted,
    InvalidArgument,
    LinkLost,
    NoAttribute,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Timeout,
    Unplugged,
    Unsupported,
    WouldBlock,
)
from .gemm import Gemm
from .gpio import Gpio, GpioChip, GpioEvent, GpioLine
from .hwmon import Hwmon, Sensor
from .i2c import I2c, I2cAnswer
from .iio import Iio, IioChannel, IioElement, IioEvent, IioScan
from .led import Led
from .memory import Dmabuf, Memory
from .mmio import Mmio
from .pwm import Pwm
from .registers import Field, Register, RegisterMap, Registers, RegisterView
from .registry import (
    DriverInfo,
    Match,
    bind,
    bindings,
    driver_dir,
    drivers,
    load_driver,
    load_drivers,
    source_archive,
    unbind,
    version,
)
from .spi import Spi
from .uart import Uart
from .uio import Uio
from .vfio import DmaRegion, Vfio

if TYPE_CHECKING:
    from .discovery import Change, Problem, Record, Watch, devices
    from .driver import Driver, DriverDevice, register_driver, unregister_driver
    from .remote import Export, exports

    watch = Watch

__all__ = [
    "Access",
    "Attribute",
    "Attributes",
    "Busy",
    "Cancelled",
    "Change",
    "Closed",
    "Device",
    "DmaRegion",
    "Dmabuf",
    "Driver",
    "DriverDevice",
    "DriverInfo",
    "Error",
    "Export",
    "Field",
    "Forked",
    "Gemm",
    "Gpio",
    "GpioChip",
    "GpioEvent",
    "GpioLine",
    "Hwmon",
    "I2c",
    "I2cAnswer",
    "Iio",
    "IioChannel",
    "IioElement",
    "IioEvent",
    "IioScan",
    "Interrupted",
    "InvalidArgument",
    "Led",
    "LinkLost",
    "Match",
    "Memory",
    "Mmio",
    "NoAttribute",
    "NotFound",
    "PermissionDenied",
    "Problem",
    "ProtocolError",
    "Pwm",
    "Record",
    "Register",
    "RegisterMap",
    "RegisterView",
    "Registers",
    "Segment",
    "Sensor",
    "Spi",
    "Timeout",
    "Uart",
    "Uio",
    "Unplugged",
    "Unsupported",
    "Value",
    "Vfio",
    "Watch",
    "WouldBlock",
    "batch",
    "bind",
    "bindings",
    "cache",
    "devices",
    "driver_dir",
    "drivers",
    "exports",
    "load_driver",
    "load_drivers",
    "names",
    "open",
    "register_driver",
    "source_archive",
    "unbind",
    "unregister_driver",
    "version",
    "watch",
]

__version__ = version()


def open(uri: str, *, timeout: float | None = None, **options: Value) -> Device:
    """Open a device.

    Args:
        uri: ``driver:address?key=value``, or a logical name: one bound by ``hal.bind``, or one of
            the configuration file (docs/names.md).
        timeout: Bounds the opening of slow and remote devices, seconds; None: wait for ever.
        **options: Added to the URI, quoted: ``hal.open("uart:/dev/ttyS0", baud=9600)``.

    Returns:
        The device, of the class made for its driver (``hal.Uart`` ...), else ``hal.Device``. The
        caller closes it, best by ``with``.

    Raises:
        NotFound: No such driver, name or device.
        PermissionDenied, Busy: The text says whose rights are missing, and who holds it.
        InvalidArgument: The URI is ill-formed, or an option is unknown or out of range.
    """
    return Device.open(uri, timeout=timeout, **options)


if not TYPE_CHECKING:  # which would take any name to be here
    _LATER = {
        **{name: ("driver", name) for name in ("Driver", "DriverDevice")},
        **{name: ("driver", name) for name in ("register_driver", "unregister_driver")},
        **{name: ("discovery", name) for name in ("Change", "Problem", "Record", "Watch")},
        **{name: ("remote", name) for name in ("Export", "exports")},
        "devices": ("discovery", "devices"),
        "watch": ("discovery", "Watch"),
    }

    def __getattr__(name: str) -> object:
        """Load what takes long to load, cffi or discovery with it, when it is asked for."""
        if name in _LATER:
            module, noun = _LATER[name]
            return getattr(import_module(f".{module}", __name__), noun)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
