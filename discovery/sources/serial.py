# SPDX-License-Identifier: Apache-2.0
"""Serial lines: what has a UART, and what USB, Bluetooth and gadgets make look like one."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts

_VIRTUAL_SERIAL = ("ttyGS", "rfcomm")  # A USB gadget's and Bluetooth's lines hang on no hardware.
_UARTS = ("none", "8250", "16450", "16550", "16550A", "Cirrus", "16650", "16650V2", "16750",
          "Startech", "16C950", "16654", "16850", "RSA")  # fmt: skip
"""Kinds of UART by number: <linux/serial.h>, PORT_*."""


def serial_line(node: Node, _: Context) -> Facts | None:
    """A serial line: not virtual terminals and ptys, nor the slots of UARTs that are not there."""
    virtual = "/devices/virtual/" in node.path
    kind = node.integer("type")
    if kind == 0 or (virtual and not node.name.startswith(_VIRTUAL_SERIAL)):
        return None
    facts = Facts(node=node.devnode)
    if kind is not None and kind < len(_UARTS):
        facts.model = f"{_UARTS[kind]} UART"
    facts.properties = {
        "port": node.attr("port"),
        "irq": node.attr("irq"),
        "console": "yes" if node.attr("console") == "Y" else "",
    }
    return facts
