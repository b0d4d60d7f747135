# SPDX-License-Identifier: Apache-2.0
"""Attributes of a device as properties of its face."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

from .attributes import Value
from .device import Device

__all__ = ["Setting", "State"]

V = TypeVar("V", bound=Value)


class State(Generic[V]):
    """An attribute as a property that can be read."""

    def __init__(self, attribute: str, doc: str) -> None:
        self.attribute = attribute
        self.__doc__ = doc

    @overload
    def __get__(self, device: None, owner: type[Device]) -> State[V]: ...

    @overload
    def __get__(self, device: Device, owner: type[Device]) -> V: ...

    def __get__(self, device: Device | None, owner: type[Device]) -> Any:
        return self if device is None else device.attributes[self.attribute]


class Setting(State[V]):
    """An attribute as a property that can be read and set."""

    def __set__(self, device: Device, value: V) -> None:
        device.attributes[self.attribute] = value
