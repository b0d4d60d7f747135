# SPDX-License-Identifier: Apache-2.0
"""Typed properties of a device: what they are called, mean, may hold, and are."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from enum import IntFlag

from . import _core
from .errors import NoAttribute, NotFound, Unsupported

__all__ = ["Access", "Attribute", "Attributes", "Value"]

Value = bool | int | float | str

# enum hal_type; a CHOICE is a str with choices.
_TYPES: dict[int, type[Value]] = {1: bool, 2: int, 3: float, 4: str, 5: str}


class Access(IntFlag):
    """What may be done with an attribute; the numbers are those of ``enum hal_access``."""

    READ = 1
    WRITE = 2
    OPEN = 4
    """It may be given when the device is opened, as an option of the URI."""


@dataclass(frozen=True)
class Attribute:
    """What a driver says about one attribute; a driver written in Python declares it so.

    Attributes:
        name: A letter or digit, then letters, digits, ``_``, ``-`` or ``.``, which groups.
        type: ``bool``, ``int``, ``float`` or ``str``.
        access: What may be done with it.
        unit: SI symbol ("Hz", "s", "V"), "B" for bytes, "baud"; None: it has none.
        doc: One sentence.
        range: Smallest and largest number; None: the type's own limits.
        choices: The texts it may hold; empty: any.
        initial: The value, as text, when the URI does not give it; None: none.
    """

    name: str
    type: type[Value]
    access: Access = Access.READ
    unit: str | None = None
    doc: str = ""
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    initial: str | None = None

    @classmethod
    def from_fields(cls, fields: _core.AttributeFields) -> Attribute:
        """The attribute that a row of the C table describes."""
        name, kind, access, unit, doc, limits, choices, initial = fields
        return cls(name, _TYPES[kind], Access(access), unit, doc, limits, choices, initial)


class Attributes(MutableMapping[str, Value]):
    """The attributes of an open device as a mapping from name to value.

    Every access asks the driver: nothing is cached, and what does not exist here (``KeyError``),
    cannot be read, or is out of range raises the error that says so. Any thread. A wait for a slow
    device is bounded by the device's timeout.
    """

    __slots__ = ("_device",)

    def __init__(self, device: _core.Handle) -> None:
        self._device = device

    def __getitem__(self, name: str) -> Value:
        try:
            return _core.get(self._device, name)
        except NotFound as error:
            raise NoAttribute(*error.args) from None

    def __setitem__(self, name: str, value: Value) -> None:
        try:
            _core.set(self._device, name, value)
        except NotFound as error:
            raise NoAttribute(*error.args) from None

    def __delitem__(self, name: str) -> None:
        raise Unsupported(f'delete "{name}": the attributes of a device are fixed')

    def __iter__(self) -> Iterator[str]:
        return iter([fields[0] for fields in _core.attributes(self._device)])

    def __len__(self) -> int:
        return len(_core.attributes(self._device))

    def __contains__(self, name: object) -> bool:
        return any(name == known for known in self)

    def __repr__(self) -> str:
        return f"<attributes of {self._device.uri!r}: {', '.join(self)}>"

    def describe(self, name: str) -> Attribute:
        """Everything the driver says about one attribute.

        Raises:
            NoAttribute: There is none of that name.
        """
        for attribute in self.describe_all():
            if attribute.name == name:
                return attribute
        raise NoAttribute(f'describe "{name}": {self._device.uri} has only: {", ".join(self)}')

    def describe_all(self) -> list[Attribute]:
        """describe() for all of them, in the driver's order."""
        return [Attribute.from_fields(fields) for fields in _core.attributes(self._device)]
