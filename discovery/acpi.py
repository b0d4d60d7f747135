# SPDX-License-Identifier: Apache-2.0
"""What ACPI says of a machine: its devices, and the tables its firmware brought.

Read from /sys/bus/acpi/devices and /sys/firmware/acpi/tables (Documentation/ABI/testing/
sysfs-bus-acpi, sysfs-firmware-acpi). Section numbers are those of the ACPI Specification 6.5.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from .sysfs import Node, Sysfs, natural, printable

_PRESENT, _ENABLED, _WORKS = 1, 2, 8
"""Bits of _STA, section 6.3.7."""

MEANINGS = {
    "APIC": "interrupt controllers",
    "BERT": "errors of the last boot",
    "CEDT": "CXL host bridges and windows",
    "DBG2": "debug ports",
    "DMAR": "Intel IOMMU",
    "DSDT": "devices",
    "ERST": "error store",
    "FACP": "fixed hardware",
    "HEST": "error sources",
    "HMAT": "memory latency and bandwidth",
    "IORT": "Arm IOMMU and its clients",
    "IVRS": "AMD IOMMU",
    "MCFG": "PCI Express configuration space",
    "NFIT": "persistent memory",
    "PPTT": "processor topology and caches",
    "SLIT": "NUMA distances",
    "SPCR": "serial console",
    "SRAT": "NUMA nodes of processors and memory",
    "SSDT": "more devices",
    "TPM2": "trusted platform module",
}
"""What is in the tables that tell of devices."""


@dataclass(frozen=True, slots=True)
class AcpiDevice:
    r"""A device of the ACPI namespace.

    Attributes:
        name: The kernel's name, "PNP0501:00".
        path: Its place in the namespace, "\_SB_.PCI0.COM1".
        hid: What it is, "PNP0501"; "" for those known by their address alone.
        uid: Which of several; "" when that is not said.
        compatible: All ids by which drivers may know it, the best first.
        description: What the firmware calls it (_STR), mostly "".
        status: As _STA gives it; None when the firmware does not say.
        physical: Folders below /sys of the devices that it is, "/devices/pci0000:00/...".
    """

    name: str
    path: str
    hid: str
    uid: str
    compatible: tuple[str, ...]
    description: str
    status: int | None
    physical: tuple[str, ...]

    @property
    def missing(self) -> str:
        """Why programs cannot have it; "" when it is there and works."""
        if self.status is None:
            return ""
        if not self.status & _PRESENT:
            return "the firmware says that it is not there (_STA)"
        if not self.status & _ENABLED:
            return "switched off by the firmware (_STA); look into its set-up"
        return "" if self.status & _WORKS else "the firmware says that it has failed (_STA)"


@dataclass(frozen=True, slots=True)
class AcpiTable:
    """A table of the firmware.

    Attributes:
        name: The file's name: the signature, and a number where there are several.
        signature: Which table it is.
        meaning: What it tells, "" for one that is not of devices.
        size: In bytes.
        revision: Of its format; 0 when it may not be read (it takes root).
        oem: Who made it, and what he calls it; "" likewise.
    """

    name: str
    signature: str
    meaning: str
    size: int
    revision: int
    oem: str


@dataclass(frozen=True, slots=True)
class Console:
    """The serial console that the firmware names (SPCR, section 5.2.6 and Microsoft's paper).

    Attributes:
        address: Of its registers.
        space: "memory" or "io".
        baud: Its speed; 0 when it stays as the firmware has set it.
    """

    address: int
    space: str
    baud: int


def acpi_devices(root: str = "/") -> list[AcpiDevice]:
    """The devices of the ACPI namespace; empty on a machine without ACPI."""
    return [_device(node) for node in Sysfs(root).nodes("acpi")]


def acpi_tables(root: str = "/") -> list[AcpiTable]:
    """The tables of the firmware, by name; empty on a machine without ACPI."""
    folder = f"{Sysfs(root).sys}/firmware/acpi/tables"
    try:
        names = sorted(os.listdir(folder), key=natural)
    except OSError:  # No ACPI.
        return []
    return [_table(folder, name) for name in names if os.path.isfile(f"{folder}/{name}")]


def acpi_console(root: str = "/") -> Console | None:
    """The serial console that the firmware names; None: none, or its table takes root to read."""
    table = _head(f"{Sysfs(root).sys}/firmware/acpi/tables/SPCR", 84)
    if len(table) < 59:
        return None
    space, address = table[40], struct.unpack_from("<Q", table, 44)[0]
    speeds = {3: 9600, 4: 19200, 6: 57600, 7: 115200}
    exact = struct.unpack_from("<I", table, 80)[0] if table[8] >= 4 and len(table) == 84 else 0
    return Console(address, "io" if space == 1 else "memory", exact or speeds.get(table[58], 0))


def _device(node: Node) -> AcpiDevice:
    modalias = node.attr("modalias")
    ids = modalias.removeprefix("acpi:").split(":") if modalias.startswith("acpi:") else []
    links = [name for name in node.names() if name.startswith("physical_node")]
    return AcpiDevice(
        name=node.name,
        path=node.attr("path"),
        hid=node.attr("hid"),
        uid=node.attr("uid"),
        compatible=tuple(filter(None, ids)),
        description=node.attr("description"),
        status=node.integer("status"),
        physical=tuple(_devpath(node, name) for name in links),
    )


def _devpath(node: Node, link: str) -> str:
    return os.path.realpath(f"{node.path}/{link}")[len(node.tree.sys) :]


def _table(folder: str, name: str) -> AcpiTable:
    """A table's header (section 5.2.6); it may be read by root alone."""
    path = f"{folder}/{name}"
    signature = name[:4]
    head = _head(path, 36)
    revision, oem = 0, ""
    if len(head) == 36:
        revision = head[8]
        maker, its_name = head[10:16], head[16:24]
        words = [printable(part.decode("latin-1").strip("\0 ")) for part in (maker, its_name)]
        oem = " ".join(filter(None, words))
    meaning = MEANINGS.get(signature, "")
    return AcpiTable(name, signature, meaning, os.stat(path).st_size, revision, oem)


def _head(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:  # Not there, or not for this user.
        return b""
