# SPDX-License-Identifier: Apache-2.0
"""Who a device is, whatever it is called today.

The rule, from the device upwards through the devices it hangs on:

0. A USB device that gives a UUID for its serial number has that for its id, as a device of ours has
   the UUID that it announces and that its certificate names. So a board that is plugged in and on
   a network is one device.
1. The first one that carries a number of its own ends the search. Such numbers are a USB device's
   vendor, product and serial number, the permanent and globally unique MAC address of a network
   interface, the serial number of a CXL memory device, the id of an NVDIMM, and the UUID of a
   namespace on one. The identity is that number and the way down from there. It moves with the
   hardware from port to port and from machine to machine.
2. Where nothing carries a number, the identity is /etc/machine-id and the way down from the root
   of the device tree. It names the place: what is plugged there next is taken for the same.
3. Devices that claim one number at two places (cloned serial numbers) all get that of their place.

In a way down, names that hardware or firmware fixes are kept (PCI device and function, USB port,
platform and ACPI device, I2C address, SPI chip select). Where the kernel counts as it finds (tty,
i2c adapter, hwmon ...), the number is replaced by the rank among siblings: of "ttyUSB3" alone below
its interface remains "ttyUSB#0". Numbers of PCI buses behind bridges change when a card is added,
and are left out: 0000:00:1d.0/00.0. The device's class is part of the identity.

The id is the UUID of version 5 (RFC 9562) of that text in the project's name space.
"""

from __future__ import annotations

import re
import uuid

from .sysfs import Node, natural

NAMESPACE = uuid.UUID("b3d6c1a5-54c5-5ac2-9a33-3f1d5c0f6b1e")
"""Name space of device ids. It never changes."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COUNTED = re.compile(r"^(.*?)[\d.]*\d$")
_FIXED = {"pci", "platform", "acpi", "pnp", "amba", "of_platform", "scsi", "mdio_bus", "cpu"}
_DUMMY_SERIALS = ("0123456789abcdef", "1234567890", "none", "n/a", "default", "to be filled")


def derive(device_class: str, node: Node, machine: str) -> tuple[str, str]:
    """The identity of a device.

    Args:
        device_class: Its class.
        node: Its folder in sysfs.
        machine: Content of /etc/machine-id, "" when there is none.

    Returns:
        The UUID, and the text for people that says what it stands on.
    """
    if device_class == "usb" and (own := _usb_uuid(node)):
        return own, f"uuid {own}"
    anchor, way = "", []
    for step in node.line():
        anchor = _number(step)
        if anchor:
            break
        way.append(_step(step))
    below = _joined(way)
    if anchor:
        return _uuid(device_class, anchor, below), " ".join(filter(None, (anchor, below)))
    return place(device_class, node, machine)


def place(device_class: str, node: Node, machine: str) -> tuple[str, str]:
    """Identity by place alone (rule 2), also for devices whose number turned out not to be theirs.

    Args and returns are those of `derive`.
    """
    below = _joined([_step(step) for step in node.line()])
    return _uuid(device_class, f"machine {machine}", below), f"place {below}"


def path(device_class: str, node: Node, machine: str) -> tuple[str, str]:
    """Identity by the kernel's own path, for what not even the place tells apart."""
    return _uuid(device_class, f"machine {machine}", node.devpath), f"path {node.devpath}"


def _joined(way: list[str]) -> str:
    return "/".join(reversed([step for step in way if step]))


def _uuid(*parts: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def _number(node: Node) -> str:
    """The number a device carries, with its kind; "" when it carries none."""
    kind = node.subsystem
    if kind == "usb":
        return _usb_number(node)
    if kind == "net":
        return _mac(node)
    if kind == "cxl" and (serial := node.integer("serial")):
        return f"cxl {serial:#x}"
    if kind == "nd":
        number = node.attr("nfit/id") or node.attr("uuid")
        return f"nvdimm {number}" if number.strip("0-") else ""
    return ""


def _usb_number(node: Node) -> str:
    serial = node.attr("serial")
    product = node.attr("idProduct")
    # A root hub's (Linux Foundation) serial number is the address of its controller.
    if not product or node.attr("idVendor") == "1d6b" or is_dummy(serial):
        return ""
    return f"usb {node.attr('idVendor')}:{product} {serial}"


def _usb_uuid(node: Node) -> str:
    """The UUID that a USB device gives for its serial number, "" when it gives none."""
    serial = node.attr("serial").lower()
    return serial if _UUID.fullmatch(serial) and serial.strip("0-") else ""


def is_dummy(serial: str) -> bool:
    """Is this a text that makers put where a serial number should be?"""
    text = serial.strip().lower()
    return len(set(text)) <= 1 or any(
        text.startswith(dummy) or dummy.startswith(text) for dummy in _DUMMY_SERIALS
    )


def _mac(node: Node) -> str:
    address = node.attr("address")
    if node.attr("addr_assign_type") != "0" or not re.fullmatch(r"([0-9a-f]{2}:){5,}..", address):
        return ""
    local = int(address[:2], 16) & 2  # IEEE 802, clause 8: not globally unique.
    return "" if local or not address.strip("0:") else f"mac {address}"


def _step(node: Node) -> str:
    """A device's name below the one above it, without what the kernel counts."""
    name, kind = node.name, node.subsystem
    if kind == "serial-base":  # Linux 6.5 put this layer in; older kernels go without.
        return ""
    if kind == "pci" and node.parent is not None and node.parent.subsystem == "pci":
        return name.rpartition(":")[2]
    if kind in _FIXED or not kind or re.fullmatch(r"/devices/virtual/[^/]+/[^/]+", node.devpath):
        return name
    if kind == "usb" and ":" in name:
        return name[name.index(":") :]  # An interface, "1-2.3:1.0": it begins with its device.
    if kind in ("usb", "i2c") and re.match(r"\d+-", name):
        return name.split("-", 1)[1]  # "1-2.3", "1-0050": the bus number is counted.
    if kind == "i2c" and not re.fullmatch(r"i2c-\d+", name):
        return name  # Named by ACPI.
    if kind == "spi":
        return name.split(".", 1)[-1]
    if kind == "net":
        return f"net#{_port(node)}"  # Interfaces are renamed.
    counted = _COUNTED.match(name)
    return f"{counted[1]}#{_rank(node, counted[1])}" if counted else name


def _port(node: Node) -> int:
    return node.integer("dev_port") or node.integer("dev_id") or 0


def _rank(node: Node, stem: str) -> int:
    siblings = [name for name in _siblings(node) if _COUNTED.sub(r"\1", name) == stem]
    return siblings.index(node.name) if node.name in siblings else 0


def _siblings(node: Node) -> list[str]:
    folder = node.path.rpartition("/")[0]
    return sorted(node.tree.node(folder).names(), key=natural)
