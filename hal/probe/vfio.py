# SPDX-License-Identifier: Apache-2.0
"""What stands between a PCI function and the driver ``vfio``: IOMMU, kernel driver, group, rights.

Source: the kernel's Documentation/driver-api/vfio.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hal.discovery import access

from .outcome import Exit

Finding = tuple[str, bool, str, list[str], Exit]
"""What is looked at, whether it is as it has to be, what was found, what to type, the exit code."""

_HARMLESS = {"", "pci-stub", "pcieport"}

_NO_IOMMU = [
    "turn on VT-d, AMD-Vi or the SMMU in the firmware; a virtual machine needs a virtual one",
    "Intel: add intel_iommu=on to the kernel's command line: cat /proc/cmdline",
    "registers without DMA: the driver mmio; interrupts: the driver uio",
]


def look(uri: str, root: str) -> Iterator[Finding]:
    """Each finding on the way to a function; the last is the first that is in the way, if one is.

    Args:
        uri: Of the driver vfio; an address that is none has no findings.
        root: Where the machine's root is, "" for this one.
    """
    match = re.match(r"vfio:([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])", uri)
    if match is None:
        return
    for step in (_function, _iommu, _kernel, _group, _rights, _holder):
        finding = step(match[1].lower(), root)
        yield finding
        if not finding[1]:
            return


def _folder(address: str, root: str) -> Path:
    return Path(f"{root}/sys/bus/pci/devices/{address}")


def _bound(folder: Path) -> str:
    return os.path.basename(os.path.realpath(folder / "driver")) * (folder / "driver").exists()


def _number(address: str, root: str) -> str:
    return os.path.basename(os.path.realpath(_folder(address, root) / "iommu_group"))


def _function(address: str, root: str) -> Finding:
    if not _folder(address, root).exists():
        return "device", False, f"no PCI function {address}", ["lspci -D"], Exit.NOT_FOUND
    return "device", True, f"PCI function {address}", [], Exit.OK


def _iommu(_: str, root: str) -> Finding:
    folder = Path(f"{root}/sys/class/iommu")
    names = sorted(os.listdir(folder)) if folder.exists() else []
    if not names:
        return "iommu", False, "no IOMMU is on", _NO_IOMMU, Exit.FAILED
    return "iommu", True, ", ".join(names), [], Exit.OK


def _kernel(address: str, root: str) -> Finding:
    folder, driver = _folder(address, root), _bound(_folder(address, root))
    if "vfio" in driver:
        return "kernel", True, f"kernel driver {driver}", [], Exit.OK
    path = f"/sys/bus/pci/devices/{folder.name}"
    advice = ["sudo modprobe vfio-pci", f"echo vfio-pci | sudo tee {path}/driver_override"]
    if driver:
        advice.append(f"echo {address} | sudo tee {path}/driver/unbind")
    advice.append(f"echo {address} | sudo tee /sys/bus/pci/drivers_probe")
    text = f"kernel driver {driver}" if driver else "no kernel driver"
    code = Exit.BUSY if driver else Exit.FAILED
    return "kernel", False, f"{text}; it has to be vfio-pci", advice, code


def _group(address: str, root: str) -> Finding:
    folder = _folder(address, root) / "iommu_group/devices"
    if not folder.exists():
        text = "the machine's IOMMU does not serve this function"
        return "group", False, text, ["another slot may be behind it"], Exit.FAILED
    mates = {path.name: _bound(path) for path in sorted(folder.iterdir()) if path.name != address}
    used = {name: driver for name, driver in mates.items() if driver not in _HARMLESS}
    used = {name: driver for name, driver in used.items() if "vfio" not in driver}
    number = _number(address, root)
    if used:
        names = ", ".join(f"{name} ({driver})" for name, driver in used.items())
        text = f"IOMMU group {number} has functions that kernel drivers use: {names}"
        advice = [
            f"echo {name} | sudo tee /sys/bus/pci/devices/{name}/driver/unbind" for name in used
        ]
        return "group", False, text, advice, Exit.BUSY
    return "group", True, f"IOMMU group {number}, with {len(mates)} more", [], Exit.OK


def _rights(address: str, root: str) -> Finding:
    node = f"/dev/vfio/{_number(address, root)}"
    try:
        rights = access.rights(root + node)
    except OSError as error:
        return "node", False, f"{node}: {error.strerror}", [f"ls -l {node}"], Exit.NOT_FOUND
    if rights.granted:
        return "node", True, f"{node}, {rights}", [], Exit.OK
    advice = access.remedy(rights, "vfio")
    return "node", False, f"{node}: Permission denied ({rights})", advice, Exit.PERMISSION


def _holder(address: str, root: str) -> Finding:
    own = sorted((_folder(address, root) / "vfio-dev").glob("vfio*"))  # by /dev/iommu
    nodes = [_number(address, root), *(f"devices/{path.name}" for path in own)]
    found, _ = access.holders([f"{root}/dev/vfio/{node}" for node in nodes], root)
    who = [holder for holders in found.values() for holder in holders]
    if not who:
        return "holder", True, "nobody has it open", [], Exit.OK
    advice = [f"kill {holder.pid}    # ends {holder.name}" for holder in who]
    return "holder", False, f"held by {', '.join(map(str, who))}", advice, Exit.BUSY
