# SPDX-License-Identifier: Apache-2.0
"""PCI functions."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts, known


def pci(node: Node, context: Context) -> Facts | None:
    """A PCI function. Its first memory BAR is what a program would map."""
    bars = _bars(node)
    bar = next(iter(bars), None)
    vendor, model = name(node, context)
    facts = Facts(vendor=vendor, model=model, addresses=[node.name], properties=_pci_facts(node))
    facts.properties |= {f"bar{number}": str(size) for number, size in bars.items()}
    facts.kernel = f"kernel driver {node.driver}" if node.driver not in ("", "vfio-pci") else ""
    if bar is not None:
        facts.fields = {"bar": str(bar)}
        facts.node = f"/sys{node.devpath}/resource{bar}"
    return facts


def _pci_facts(node: Node) -> dict[str, str]:
    return {
        "id": _pci_id(node, "vendor", "device"),
        "subsystem": _pci_id(node, "subsystem_vendor", "subsystem_device"),
        "class": f"{_hex(node, 'class'):06x}",
        "revision": node.attr("revision"),
        **_pcie_link(node, "current_link", "link"),
        **_pcie_link(node, "max_link", "max_link"),
        "iommu_group": node.link("iommu_group"),
        "numa_node": known(node.attr("numa_node")),
    }


def _pcie_link(node: Node, attribute: str, name: str) -> dict[str, str]:
    """Speed and width of a PCI Express link; empty for a device that hangs on none."""
    speed, width = node.attr(f"{attribute}_speed"), node.attr(f"{attribute}_width")
    if speed in ("", "Unknown") or width in ("0", "255"):
        return {}
    return {f"{name}_speed": speed, f"{name}_width": width}


def _pci_id(node: Node, vendor: str, device: str) -> str:
    maker, product = _hex(node, vendor), _hex(node, device)
    return f"{maker:04x}:{product:04x}" if maker or product else ""


def _bars(node: Node) -> dict[int, int]:
    """Sizes in bytes of the memory BARs, by number (<linux/ioport.h>: IORESOURCE_MEM)."""
    bars = {}
    lines = node.tree.read(f"{node.path}/resource", keep_lines=True).split("\n")
    for number, line in enumerate(lines[:6]):
        fields = [int(part, 16) for part in line.split()]
        if len(fields) == 3 and fields[2] & 0x200:
            bars[number] = fields[1] - fields[0] + 1
    return bars


def name(node: Node, context: Context) -> tuple[str, str]:
    """Vendor and model, as pci.ids has them, or their numbers."""
    vendor, device = _hex(node, "vendor"), _hex(node, "device")
    maker, model = context.pci_names.lookup(vendor, device)
    return maker or f"vendor {vendor:04x}", model or f"device {device:04x}"


def _hex(node: Node, name: str) -> int:
    return node.integer(name) or 0
