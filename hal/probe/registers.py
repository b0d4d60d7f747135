# SPDX-License-Identifier: Apache-2.0
"""hal-probe show --registers: what the registers of a device hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import hal

__all__ = ["RegisterReading", "read_registers", "register_rows"]


@dataclass(frozen=True)
class RegisterReading:
    """A register and its value now; None: it cannot be read, and ``error`` says why."""

    register: hal.Register
    value: int | None = None
    error: str = ""

    @property
    def fields(self) -> dict[str, int]:
        """The fields of that value."""
        return {} if self.value is None else self.register.decode(self.value)

    def as_dict(self) -> dict[str, object]:
        """The reading as plain data."""
        return {
            "name": self.register.name,
            "offset": self.register.offset,
            "width": self.register.width,
            "access": self.register.access,
            "doc": self.register.doc,
            "value": self.value,
            "fields": {name: int(value) for name, value in self.fields.items()},
            "error": self.error,
        }


def read_registers(device: hal.Device, which: str) -> list[RegisterReading]:
    """Read each register of a map once. ``which`` is FILE or FILE:PART."""
    path, _, part = which.partition(":")
    registers = hal.Registers(device, hal.RegisterMap.load(path, part or None))
    return [_reading(view) for view in registers]


def _reading(view: hal.RegisterView) -> RegisterReading:
    try:
        return RegisterReading(view.register, view.value)
    except hal.Error as error:
        return RegisterReading(view.register, error=str(error).rpartition(": ")[2])


def register_rows(readings: Iterable[RegisterReading]) -> list[tuple[str, ...]]:
    """Rows of a table: name, offset, value, fields."""
    return [
        (
            reading.register.name,
            f"{reading.register.offset:#06x}",
            reading.error
            if reading.value is None
            else f"{reading.value:#0{2 + 2 * reading.register.width}x}",
            "  ".join(f"{name}={_text(value)}" for name, value in reading.fields.items()),
        )
        for reading in readings
    ]


def _text(value: int) -> str:
    return value.name if isinstance(value, IntEnum) else f"{value:#x}"
