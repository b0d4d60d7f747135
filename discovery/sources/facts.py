# SPDX-License-Identifier: Apache-2.0
"""What a describing function finds out, and what such functions share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..names import Names
from ..record import Problem
from ..sysfs import Node

if TYPE_CHECKING:
    from ..aml import I2cPlace


@dataclass(slots=True)
class Facts:
    """What a describing function found out; the rest of a record is the same for all classes.

    Attributes:
        model: What it is; "" leaves the name of the hardware it belongs to.
        vendor: Who made it; likewise.
        serial: Its serial number; likewise.
        node: The node, or file of sysfs, that a program opens; "" when there is none.
        mode: How: "r", "w" or "rw".
        addresses: Other ways to name it.
        properties: What else is worth telling; empty values are dropped.
        kernel: Why it belongs to the kernel and is not for programs, "" when it is for them.
        hint: What to do to get a node when there is none.
        fields: What drivers' match tables may ask for beside {name} and {node}: "bus", "address".
    """

    model: str = ""
    vendor: str = ""
    serial: str = ""
    node: str = ""
    mode: str = "rw"
    addresses: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    kernel: str = ""
    hint: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A place to look.

    Attributes:
        device_class: What is found there.
        subsystem: The kernel's bus or class.
        describe: What makes a device of it.
    """

    device_class: str
    subsystem: str
    describe: Callable[[Node, Context], Facts | None]


class Context:
    """What describing functions share.

    Args:
        root: Where the machine's root is, without a slash at its end.
    """

    def __init__(self, root: str) -> None:
        self.pci_names = Names(root, "pci.ids")
        self.usb_names = Names(root, "usb.ids")
        self._root = root

    @cached_property
    def i2c_places(self) -> Mapping[str, I2cPlace]:
        """Where ACPI's tables say that I2C devices are, by path; read when it is first asked."""
        from ..aml import i2c_places

        return i2c_places(self._root or "/")

    @cached_property
    def disabled_nodes(self) -> Sequence[str]:
        """Names of the device tree's nodes that are not in use; looked for once."""
        from ..devicetree import disabled_names

        return disabled_names(self._root or "/")

    def nameless(self) -> Iterator[Problem]:
        """What kinds of devices are shown by their numbers, for want of a file of names."""
        for kind, names in (("pci", self.pci_names), ("usb", self.usb_names)):
            if names.missing:
                advice = f"sudo apt install {kind}.ids (or hwdata)"
                yield Problem(kind, f"numbers in place of names: there is no {kind}.ids; {advice}")


def bit_rate(text: str) -> str:
    """Bits a second, from the kernel's Mbit/s; "" when it knows none."""
    try:
        rate = float(text)
    except ValueError:
        return ""
    return f"{rate * 1e6:.0f}" if rate > 0 else ""


def known(text: str) -> str:
    """A NUMA node; the kernel writes -1 for none."""
    return "" if text == "-1" else text


def size_of(text: str) -> str:
    """A size that the kernel may give in hexadecimal."""
    try:
        return str(int(text, 0))
    except ValueError:
        return ""
