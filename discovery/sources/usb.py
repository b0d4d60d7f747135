# SPDX-License-Identifier: Apache-2.0
"""USB devices."""

from __future__ import annotations

import re

from ..sysfs import Node
from .facts import Context, Facts, bit_rate


def usb(node: Node, context: Context) -> Facts | None:
    """A USB device. Its interfaces are not devices of their own."""
    if node.properties.get("DEVTYPE") != "usb_device":
        return None
    vendor, model = name(node, context)
    interfaces = [n for n in node.names() if re.fullmatch(r"[\d.-]+:\d+\.\d+", n)]
    drivers = {node.tree.node(f"{node.path}/{name}").driver for name in interfaces} - {""}
    return Facts(
        vendor=vendor,
        model=model,
        serial=serial(node),
        node=node.devnode,
        addresses=[node.name],
        properties={
            "id": f"{node.attr('idVendor')}:{node.attr('idProduct')}",
            "class": node.attr("bDeviceClass"),
            "speed": bit_rate(node.attr("speed")),
            "interfaces": str(len(interfaces)) if interfaces else "",
            "interface_drivers": " ".join(sorted(drivers)),
        },
        kernel=f"kernel driver {', '.join(sorted(drivers))}" if drivers else "",
    )


def serial(node: Node) -> str:
    """Serial number of a USB device. A root hub's is the address of its controller: none."""
    return "" if node.attr("idVendor") == "1d6b" else node.attr("serial")


def name(node: Node, context: Context) -> tuple[str, str]:
    """Vendor and model, as the device says, else as usb.ids has them, else their numbers."""
    maker, product = node.attr("manufacturer"), node.attr("product")
    if maker and product:
        return maker, product
    numbers = _code(node, "idVendor"), _code(node, "idProduct")
    known = context.usb_names.lookup(*numbers)
    return (
        maker or known[0] or f"vendor {numbers[0]:04x}",
        product or known[1] or f"product {numbers[1]:04x}",
    )


def _code(node: Node, name: str) -> int:
    try:
        return int(node.attr(name), 16)
    except ValueError:
        return 0
