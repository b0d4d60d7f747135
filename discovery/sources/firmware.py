# SPDX-License-Identifier: Apache-2.0
"""What the firmware calls a device: its node in the device tree, or its name in ACPI.

The kernel's uevent carries the device tree's facts (OF_FULLNAME, OF_COMPATIBLE_0, OF_ALIAS_0), the
link "firmware_node" leads to those of ACPI (Documentation/ABI/testing/sysfs-devices-firmware_node).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..sysfs import Node

_PLUGGED = ("usb", "pci")
"""What is plugged into these tells for itself what it is; the firmware knows the socket."""


def firmware(node: Node) -> tuple[list[str], dict[str, str]]:
    """Names and facts that the firmware has for a device, or for the one it is a function of.

    Returns:
        Names by which it can be called (alias, path in the tree), and properties.
    """
    for step in node.line():
        if "OF_FULLNAME" in step.properties:
            return _device_tree(step)
        if step.link("firmware_node"):
            return _acpi(step)
        if step.subsystem in _PLUGGED:
            break
    return [], {}


def compatible(node: Node) -> list[str]:
    """What the device tree says a device is, best first; empty for one that is not in there."""
    return list(_numbered(node, "OF_COMPATIBLE"))


def _device_tree(node: Node) -> tuple[list[str], dict[str, str]]:
    path = node.properties["OF_FULLNAME"]
    aliases = list(_numbered(node, "OF_ALIAS"))
    return [*aliases, path], {
        "of_node": path,
        "alias": " ".join(aliases),
        "compatible": " ".join(compatible(node)),
    }


def _numbered(node: Node, key: str) -> Iterator[str]:
    for number in range(64):
        if (value := node.properties.get(f"{key}_{number}")) is None:
            return
        yield value


def _acpi(node: Node) -> tuple[list[str], dict[str, str]]:
    path = node.attr("firmware_node/path")
    return [path] if path else [], {
        "acpi_path": path,
        "acpi_id": node.attr("firmware_node/hid"),
        "acpi_uid": node.attr("firmware_node/uid"),
    }
