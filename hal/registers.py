# SPDX-License-Identifier: Apache-2.0
"""Registers and fields by name (docs/registers.md).

A map says what a device's registers are called; it is read from a small TOML file, or imported
from CMSIS-SVD or SystemRDL. ``Registers`` is a map on an open device::

    registers = Registers(device, RegisterMap.load("edu.toml"))
    registers.STATUS.BUSY             # one read
    registers.STATUS.IRQ = 1          # read-modify-write: other fields keep their values
    registers["CTRL"].write(MODE="fast", ENABLE=1)  # several fields, one access
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

from .device import Device
from .errors import InvalidArgument, NotFound, Unsupported

__all__ = ["Field", "Register", "RegisterMap", "RegisterView", "Registers"]

ACCESSES = ("rw", "ro", "wo", "w1c")


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes:
        name: Its name.
        low: Its lowest bit.
        high: Its highest bit.
        access: "rw", "ro", "wo", or "w1c": writing 1 clears, writing 0 does nothing.
        enum: Names of values.
        doc: What it is for.
    """

    name: str
    low: int
    high: int
    access: str = "rw"
    enum: Mapping[str, int] = field(default_factory=dict)
    doc: str = ""

    @cached_property
    def named(self) -> dict[int, int]:
        """Members of an IntEnum, by their value."""
        members: Any = IntEnum(self.name, dict(self.enum))  # type: ignore[misc]
        return {int(member): member for member in members}

    @property
    def limit(self) -> int:
        """The largest value."""
        return (1 << (self.high - self.low + 1)) - 1

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return self.limit << self.low

    def of(self, register: int) -> int:
        """Its value in a register's value; a member of an IntEnum when that value has a name."""
        value = register >> self.low & self.limit
        return self.named.get(value, value)


@dataclass(frozen=True)
class Register:
    """One register.

    Attributes:
        name: Its name.
        offset: Bytes from the device's start.
        width: Bytes, 1, 2, 4 or 8.
        access: As a field's.
        fields: By name, lowest first.
        doc: What it is for.
    """

    name: str
    offset: int
    width: int = 4
    access: str = "rw"
    fields: Mapping[str, Field] = field(default_factory=dict)
    doc: str = ""

    @property
    def limit(self) -> int:
        """The largest value."""
        return (1 << 8 * self.width) - 1

    @property
    def clearing(self) -> int:
        """The bits that a 1 written clears: where other fields are changed, 0 is written there."""
        if self.access == "w1c":
            return self.limit
        return sum(item.mask for item in self.fields.values() if item.access == "w1c")

    def readable(self, item: Field | None = None) -> bool:
        """Whether it, or a field of it, can be read."""
        return self.access != "wo" and (item is None or item.access != "wo")

    def writable(self, item: Field | None = None) -> bool:
        """Whether it, or a field of it, can be written."""
        return self.access != "ro" and (item is None or item.access != "ro")

    def decode(self, value: int) -> dict[str, int]:
        """The readable fields of a value of the register."""
        return {name: item.of(value) for name, item in self.fields.items() if self.readable(item)}


class RegisterMap(Mapping[str, Register]):
    """What a device's registers are called: a mapping from name to ``Register``."""

    def __init__(self, registers: Mapping[str, Register], name: str = "", doc: str = "") -> None:
        self.name = name
        self.doc = doc
        self._registers = dict(registers)

    def __getitem__(self, name: str) -> Register:
        try:
            return self._registers[name]
        except KeyError:
            raise NotFound(
                f'find register "{name}": {self.name or "the map"} has {_list(self._registers)}'
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._registers)

    def __len__(self) -> int:
        return len(self._registers)

    def __contains__(self, name: object) -> bool:
        return name in self._registers

    def __repr__(self) -> str:
        return f'<hal.RegisterMap "{self.name}" of {len(self)} registers>'

    @classmethod
    def load(cls, path: str | Path, part: str | None = None) -> RegisterMap:
        """Read a map from a file.

        Args:
            path: ``.toml``, ``.svd`` (or ``.xml``), or ``.rdl``.
            part: Of SVD the peripheral, of SystemRDL the address map; None: the only one, the last.

        Raises:
            NotFound: No such file, or part in it.
            InvalidArgument: Something in it is wrong; the text says where.
            Unsupported: The library that reads this format is not installed; the text says which.
        """
        path = Path(path)
        if not path.is_file():
            raise NotFound(f'read register map "{path}": no such file')
        if path.suffix == ".toml":
            return cls._from_toml(path)
        if path.suffix not in (".svd", ".xml", ".rdl"):
            raise InvalidArgument(
                f'read register map "{path}": it is .toml, .svd (.xml) or .rdl, not "{path.suffix}"'
            )
        from . import register_import

        if path.suffix == ".rdl":
            return register_import.systemrdl(path, part)
        return register_import.svd(path, part)

    @classmethod
    def _from_toml(cls, path: Path) -> RegisterMap:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib

        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f'read register map "{path}": {error}') from error
        return cls.from_dict(table, str(path))

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], where: str = "map") -> RegisterMap:
        """Make a map of what a TOML file holds (docs/registers.md has the form).

        Raises:
            InvalidArgument: Something in it is wrong; the text says where.
        """
        entries = _Table(table, where)
        name, doc = entries.text("name", Path(where).stem), entries.text("doc", "")
        width = entries.number("width", 4)
        registers = {
            key: _register(key, _Table(entry, f"{where}: register {key}"), width)
            for key, entry in entries.tables("registers").items()
        }
        entries.end()
        return cls(registers, name, doc)


# --- reading tables ------------------------------------------------------------------------------


class _Table:
    """A table of the file; what is of the wrong type, or was not asked for, is an error."""

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, Mapping):
            raise InvalidArgument(f"{where}: a table is needed, not {table!r}")
        self.table = dict(table)
        self.where = where

    def wrong(self, key: str, what: str, value: object) -> InvalidArgument:
        return InvalidArgument(f"{self.where}: {key} must be {what}, not {value!r}")

    def text(self, key: str, default: str) -> str:
        value = self.table.pop(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "text", value)
        return value

    def number(self, key: str, default: int | None = None) -> int:
        value = self.table.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, "a number, 0 or more", value)
        return value

    def tables(self, key: str) -> dict[str, Any]:
        value = self.table.pop(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return value

    def access(self, default: str) -> str:
        value = self.table.pop("access", default)
        if value not in ACCESSES:
            raise self.wrong("access", "one of " + ", ".join(ACCESSES), value)
        return str(value)

    def bits(self) -> tuple[int, int]:
        value = self.table.pop("bits", None)
        pair = [value, value] if isinstance(value, int) else value
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(bit, int) and bit >= 0 for bit in pair)
        ):
            raise self.wrong("bits", "a bit or [highest, lowest]", value)
        return min(pair), max(pair)

    def end(self) -> None:
        if self.table:
            raise InvalidArgument(f"{self.where}: unknown {_list(self.table)}")


def _register(name: str, entry: _Table, width: int) -> Register:
    offset, access = entry.number("offset"), entry.access("rw")
    width, doc = entry.number("width", width), entry.text("doc", "")
    if width not in (1, 2, 4, 8):
        raise entry.wrong("width", "1, 2, 4 or 8 (bytes)", width)
    if offset % width:
        raise entry.wrong("offset", f"a multiple of the width {width}", hex(offset))
    fields = {
        key: _field(key, _Table(item, f"{entry.where}: field {key}"), access)
        for key, item in entry.tables("fields").items()
    }
    entry.end()
    return check_register(Register(name, offset, width, access, fields, doc), entry.where)


def _field(name: str, entry: _Table, access: str) -> Field:
    low, high = entry.bits()
    access, doc = entry.access(access), entry.text("doc", "")
    enum = entry.tables("enum")
    entry.end()
    for key, value in enum.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise entry.wrong(f"enum {key}", "a number", value)
    return Field(name, low, high, access, enum, doc)


def check_register(register: Register, where: str) -> Register:
    """Refuse fields beyond the register, fields that overlap, names of values that do not fit."""
    used: dict[int, str] = {}
    fields = dict(sorted(register.fields.items(), key=lambda pair: pair[1].low))
    for name, item in fields.items():
        if item.high >= 8 * register.width:
            raise InvalidArgument(
                f"{where}: field {name}: bit {item.high} is beyond {8 * register.width} bits"
            )
        for value in item.enum.values():
            if not 0 <= value <= item.limit:
                raise InvalidArgument(f"{where}: field {name}: {value} is beyond 0..{item.limit}")
        _check_names(item, where)
        for bit in range(item.low, item.high + 1):
            if used.setdefault(bit, name) != name and item.access == "rw":
                raise InvalidArgument(f"{where}: bit {bit} is in {used[bit]} and in {name}")
    return Register(
        register.name, register.offset, register.width, register.access, fields, register.doc
    )


def _check_names(item: Field, where: str) -> None:
    """Refuse names of values that members of an enumeration cannot have."""
    try:
        lost = set(item.enum.values()) - item.named.keys()
    except ValueError as error:
        raise InvalidArgument(f"{where}: field {item.name}: {error}") from error
    if lost:
        raise InvalidArgument(
            f"{where}: field {item.name}: the name of {min(lost)} is Python's own"
        )


def _list(names: Mapping[str, object]) -> str:
    shown = list(names)
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


# --- on a device ---------------------------------------------------------------------------------


class RegisterView:
    """A register of an open device; its fields are its attributes, or ``view["NAME"]``.

    A field that is read is one load of the register; one that is set is one ``update()``: a
    read-modify-write which no other register call on the device interrupts. Bits of other fields
    that a 1 would clear are written as 0.
    """

    __slots__ = ("_device", "_register")

    _device: Device
    _register: Register

    def __init__(self, device: Device, register: Register) -> None:
        object.__setattr__(self, "_device", device)
        object.__setattr__(self, "_register", register)

    @property
    def register(self) -> Register:
        """What the map says of it."""
        return self._register

    @property
    def value(self) -> int:
        """The whole register."""
        if not self._register.readable():
            raise Unsupported(f"read {self._named()}: the register is write-only")
        return self._device.load(self._register.offset, self._register.width)

    @value.setter
    def value(self, value: SupportsIndex) -> None:
        if not self._register.writable():
            raise Unsupported(f"write {self._named()}: the register is read-only")
        number = operator.index(value)
        if not 0 <= number <= self._register.limit:
            raise InvalidArgument(
                f"write {self._named()}: {number} is outside 0..{self._register.limit:#x}"
            )
        self._device.store(self._register.offset, number, self._register.width)

    def read(self) -> dict[str, int]:
        """All readable fields, of one load."""
        return self._register.decode(self.value)

    def write(self, **values: SupportsIndex | str) -> None:
        """Set several fields by one access.

        A register that cannot be read gets 0 in all other fields.
        """
        register, mask, bits = self._register, 0, 0
        for name, value in values.items():
            item = self._field(name)
            mask |= item.mask
            bits |= self._encode(item, value) << item.low
        if not register.readable():
            self._device.store(register.offset, bits, register.width)
            return
        clearing = register.clearing & ~mask
        self._device.update(register.offset, mask | clearing, bits, register.width)

    def __getitem__(self, name: str) -> int:
        item = self._field(name)
        if not self._register.readable(item):
            raise Unsupported(f"read {self._named(name)}: the field is write-only")
        return item.of(self.value)

    def __setitem__(self, name: str, value: SupportsIndex | str) -> None:
        self.write(**{name: value})

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: SupportsIndex | str) -> None:
        if name == "value":
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._register.fields]

    def __repr__(self) -> str:
        return f"<{self._named()} at {self._register.offset:#x} of {self._device!r}>"

    def _named(self, item: str = "") -> str:
        return f'register "{self._register.name}{"." if item else ""}{item}"'

    def _field(self, name: str) -> Field:
        try:
            return self._register.fields[name]
        except KeyError:
            raise NotFound(
                f"find field {self._named(name)}: {self._register.name} has "
                f"{_list(self._register.fields) or 'no fields'}"
            ) from None

    def _encode(self, item: Field, value: SupportsIndex | str) -> int:
        if not self._register.writable(item):
            raise Unsupported(f"write {self._named(item.name)}: the field is read-only")
        if isinstance(value, str):
            if value not in item.enum:
                raise InvalidArgument(
                    f'write {self._named(item.name)}: "{value}" is none of '
                    f"{_list(item.enum) or 'its values, which have no names'}"
                )
            return item.enum[value]
        number = operator.index(value)
        if not 0 <= number <= item.limit:
            raise InvalidArgument(
                f"write {self._named(item.name)}: {number} is outside 0..{item.limit}"
            )
        return number


class Registers:
    """The registers of an open device, by name: ``registers.STATUS`` or ``registers["STATUS"]``.

    Args:
        device: Any device that has ``load`` and ``store``: mmio, uio, vfio, simulated memory.
        registers: The map, or the file it is in.
    """

    __slots__ = ("_device", "_map")

    _device: Device
    _map: RegisterMap

    def __init__(self, device: Device, registers: RegisterMap | str | Path) -> None:
        if not isinstance(registers, RegisterMap):
            registers = RegisterMap.load(registers)
        object.__setattr__(self, "_device", device)
        object.__setattr__(self, "_map", registers)

    @property
    def map(self) -> RegisterMap:
        """The map."""
        return self._map

    def __getitem__(self, name: str) -> RegisterView:
        return RegisterView(self._device, self._map[name])

    def __getattr__(self, name: str) -> RegisterView:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise InvalidArgument(
            f'write register "{name}": say registers.{name}.value = ... or set one of its fields'
        )

    def __iter__(self) -> Iterator[RegisterView]:
        return (self[name] for name in self._map)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._map]

    def __repr__(self) -> str:
        return f"<hal.Registers {_list(self._map)} of {self._device!r}>"
