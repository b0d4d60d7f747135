# SPDX-License-Identifier: Apache-2.0
"""Hardware monitors: the face of devices of the driver ``hwmon`` (docs/hwmon.md)."""

from __future__ import annotations

from dataclasses import dataclass

from .attributes import Value
from .device import Device, face
from .errors import Error

__all__ = ["Hwmon", "Sensor"]


@dataclass(frozen=True)
class Sensor:
    """One input of a monitor, as it was when it was read.

    Attributes:
        name: "temp1", "in0", "power1", "fan2".
        value: In ``unit``; None when it cannot be read now (no fan, the chip sleeps).
        unit: "°C", "V", "A", "W", "J", "1/min", "%RH", "Hz", "".
        label: What the board's maker calls it; "" when the kernel does not say.
        limits: Its limits by name: "max", "crit", "min" ...
        alarms: Names of alarms that are on: "max_alarm" ...
    """

    name: str
    value: float | None
    unit: str
    label: str
    limits: dict[str, float]
    alarms: tuple[str, ...]


@face("hwmon")
class Hwmon(Device):
    """A chip that measures temperatures, voltages, currents, powers, fans; all in SI units.

    Example::

        with hal.Hwmon.open("hwmon:coretemp") as chip:
            for sensor in chip.sensors():
                print(sensor.label or sensor.name, sensor.value, sensor.unit)
    """

    __slots__ = ()

    def sensors(self) -> list[Sensor]:
        """All inputs, each read now."""
        return [self._sensor(name) for name in self.attributes if "." not in name]

    def _sensor(self, name: str) -> Sensor:
        label, limits, alarms = "", {}, []
        for full in self.attributes:
            if not full.startswith(name + "."):
                continue
            field = full.partition(".")[2]
            value = self._read(full)
            if field == "label":
                label = str(value or "")
            elif isinstance(value, bool):
                alarms += [field] if value else []
            elif isinstance(value, (int, float)):
                limits[field] = float(value)
        value = self._read(name)
        number = float(value) if isinstance(value, (int, float)) else None
        unit = self.attributes.describe(name).unit or ""
        return Sensor(name, number, unit, label, limits, tuple(alarms))

    def _read(self, name: str) -> Value | None:
        """None for what the chip does not tell now: one dead sensor hides no other."""
        try:
            return self.attributes[name]
        except Error:
            return None
