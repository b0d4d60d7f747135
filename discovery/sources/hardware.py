# SPDX-License-Identifier: Apache-2.0
"""The hardware that a device is part of."""

from __future__ import annotations

from ..sysfs import Node
from . import pci, usb
from .facts import Context


def hardware(node: Node, context: Context) -> tuple[str, str, str]:
    """Vendor, model and serial number of the USB or PCI device, or chip, that `node` is part of."""
    for step in node.line():
        if step.subsystem == "usb" and step.properties.get("DEVTYPE") == "usb_device":
            return *usb.name(step, context), usb.serial(step)
        if step.subsystem == "pci":
            return *pci.name(step, context), ""
        if compatible := step.properties.get("OF_COMPATIBLE_0"):  # Device tree: "vendor,model".
            vendor, comma, model = compatible.partition(",")
            return (vendor, model, "") if comma else ("", compatible, "")
    return "", "", ""
