# SPDX-License-Identifier: Apache-2.0
"""Links of the slow buses, whose speed the firmware tells, and of PCI functions without one."""

from __future__ import annotations

from ..aml import i2c_places
from ..sysfs import Node
from .link import Rate


def is_adapter(node: Node) -> bool:
    """Is this a bus's upper end, an I2C adapter?"""
    return node.subsystem == "i2c" and node.name.startswith("i2c-") and bool(node.names("i2c-dev"))


def rate(node: Node) -> Rate | None:
    """What the device tree (bindings i2c.yaml, spi-controller.yaml) or ACPI sets a bus to."""
    if node.subsystem == "spi":
        hertz = _cell(node, "spi-max-frequency")
        return Rate(_hertz(hertz), "SPI", 1, "none", hertz / 8) if hertz else None
    above = node if is_adapter(node) else node.parent
    hertz = _cell(above, "clock-frequency") if above else 0
    encoding = "9 bits a byte (UM10204, 3.1.5)"
    hertz = hertz or _acpi_speed(node)
    return Rate(_hertz(hertz), "I2C", 1, encoding, hertz / 9) if hertz else None


def _acpi_speed(node: Node) -> int:
    """What ACPI's tables say of a device's bus; 0 when they say nothing."""
    path = node.attr("firmware_node/path")
    told = i2c_places(node.tree.root or "/").get(path) if path else None
    return told.speed if told else 0


def is_virtual(node: Node) -> bool:
    """Is this a function that a hypervisor makes up (virtio)?"""
    return node.driver == "virtio-pci" or node.attr("vendor") == "0x1af4"


def emulated(port: Node | None) -> str:
    """What to know of a link whose upper end an emulator makes up, "" for a real one."""
    if port is None or port.attr("vendor") != _QEMU:
        return ""
    return "its port is made up by QEMU: speed and width are of no wire"


_QEMU = "0x1b36"
"""Vendor of the bridges and ports of QEMU."""


def unlinked(node: Node) -> str:
    """Why a PCI function shows no link."""
    if is_virtual(node):
        return "made up by the hypervisor: no link is behind it"
    return "part of the processor or chip set, or behind a bridge to conventional PCI: no link"


def _cell(node: Node, name: str) -> int:
    return int.from_bytes(node.raw(f"of_node/{name}")[:4], "big")


def _hertz(number: int) -> str:
    return f"{number / 1e6:g} MHz" if number >= 1_000_000 else f"{number / 1e3:g} kHz"
