# SPDX-License-Identifier: Apache-2.0
"""The links that accelerators, memory and bus devices sit on: how fast, how far, what limits them.

Everything is read from sysfs; no device is opened.
"""

from __future__ import annotations

from dataclasses import replace

from ..inventory import local_inventory
from ..record import Record
from ..sysfs import Node, Sysfs
from . import bus, cxl, fabric, numa, pcie, usb
from .link import SUITS, Access, Fabric, Finding, Hop, Link, Rate, slowest, suits

__all__ = ["SUITS", "Access", "Fabric", "Finding", "Hop", "Link", "Rate", "local_links"]

CLASSES = ("accelerator", "memory", "pci", "usb", "i2c", "spi")
"""Classes of devices whose links are looked at, in the order of the list."""


def local_links(root: str = "/") -> list[Link]:
    """The links of this machine's accelerators, memory and bus devices, by class and name.

    Ports (root ports, a switch's lower ports) are ends of links, and not listed for themselves.

    Args:
        root: Where the machine's root is; another than "/" reads a copied or made-up machine.
    """
    tree = Sysfs(root)
    links = []
    for record in local_inventory(root, classes=CLASSES):
        node = tree.node(f"{tree.sys}{record.path}")
        link = _link(record, node)
        if link is not None:
            links.append(_placed(link, node))
    return sorted(links, key=lambda link: CLASSES.index(link.device_class))


def _link(record: Record, node: Node) -> Link | None:
    if record.device_class == "memory":
        return _memory(record, node)
    step = next((step for step in node.line() if step.subsystem in _BUSES), None)
    if step is None:
        return _on_chip(record) if record.device_class == "accelerator" else None
    if step.subsystem == "pci":
        return None if pcie.is_port(step) else _pci(record, step)
    if step.subsystem == "usb":
        return None if usb.is_root(step) else _usb(record, step)
    return _slow(record, step)


_BUSES = ("pci", "usb", "spi", "i2c")


def _who(record: Record, kind: str) -> Link:
    """A link of which nothing is known yet but whose it is."""
    return Link(
        id=record.id,
        name=record.name,
        device_class=record.device_class,
        description=record.description,
        bus=kind,
    )


def _on_chip(record: Record, kind: str = "platform") -> Link:
    """An accelerator beside the processors."""
    note = "on the processors' own chip or bus; it works in their memory"
    return replace(_who(record, kind), suits=("general inference",), notes=(note,))


def _pci(record: Record, node: Node) -> Link:
    real = pcie.real(node)
    memory = cxl.of_function(real)
    is_cxl = memory is not None
    way = tuple(pcie.hops(real, cxl=is_cxl))
    if record.device_class == "accelerator" and not way and not bus.is_virtual(real):
        return _on_chip(record, "pci")
    mine, port = pcie.highest(real, cxl=is_cxl), pcie.upper(real)
    spoken = cxl.protocols(memory) if memory else ()
    fabrics = fabric.fabrics(real)
    coherent = "CXL.cache" in spoken or any(one.kind == "xgmi" for one in fabrics)
    kind = "cxl" if is_cxl else "pcie" if way else "pci"
    return replace(
        _who(record, kind),
        now=pcie.current(real, cxl=is_cxl),
        device_max=mine,
        port=port.name if port else "",
        port_max=pcie.highest(port, cxl=is_cxl) if port else None,
        slot=pcie.slot(real),
        hops=way,
        bandwidth=slowest(way),
        bandwidth_possible=mine.bandwidth if mine else None,
        protocols=spoken,
        fabrics=fabrics,
        suits=suits(slowest(way), memory=is_cxl, coherent=coherent),
        findings=tuple(pcie.findings(real, way)) if _speaks_for_its_slot(node, record) else (),
        notes=tuple(filter(None, _notes(real, port, linked=bool(way)))),
    )


def _notes(function: Node, port: Node | None, *, linked: bool) -> tuple[str, ...]:
    made_up = bus.emulated(port)
    return fabric.note(function), made_up, "" if linked or made_up else bus.unlinked(function)


def _speaks_for_its_slot(node: Node, record: Record) -> bool:
    """Functions of one card share its link; what is wrong with it is said once of each class."""
    return node.name.endswith(".0") or record.device_class != "pci"


def _usb(record: Record, node: Node) -> Link | None:
    device = next((step for step in node.line() if usb.is_device(step)), None)
    if device is None:
        return None
    way, mine, above = tuple(usb.hops(device)), usb.highest(device), usb.hub(device)
    return replace(
        _who(record, "usb"),
        now=usb.current(device),
        device_max=mine,
        port=above.name if above else "",
        port_max=usb.current(above) if above else None,
        hops=way,
        bandwidth=slowest(way),
        bandwidth_possible=mine.bandwidth if mine else None,
        suits=suits(slowest(way)),
        findings=tuple(usb.findings(device)),
    )


def _slow(record: Record, node: Node) -> Link | None:
    """A device on I2C or SPI. The adapters are ends of links."""
    if bus.is_adapter(node):
        return None
    now, above = bus.rate(node), node.parent
    speed = now.bandwidth if now else None
    return replace(
        _who(record, node.subsystem),
        now=now,
        port=above.name if above else "",
        bandwidth=speed,
        bandwidth_possible=speed,
        suits=suits(speed) or ("control",),
    )


def _memory(record: Record, node: Node) -> Link:
    """Memory on CXL sits on the links of its devices; other is on the processors' own bus."""
    behind = cxl.memories(node)
    functions = [found for found in map(cxl.function, behind) if found is not None]
    if not functions:
        return _near_memory(record, node)
    parts = [_pci(record, function) for function in functions]
    speeds = [part.bandwidth for part in parts if part.bandwidth is not None]
    shared = f"interleaved over {', '.join(memory.name for memory in behind)}"
    return replace(
        parts[0],
        bandwidth=sum(speeds) if len(speeds) == len(parts) else None,
        findings=tuple(finding for part in parts for finding in part.findings),
        notes=(*parts[0].notes, *([shared] if len(parts) > 1 else [])),
    )


def _near_memory(record: Record, node: Node) -> Link:
    number = numa.of_memory(node)
    far = number is not None and not numa.has_processors(node.tree, number)
    expands = far or node.subsystem in ("cxl", "dax")
    return replace(_who(record, "memory"), suits=("memory expansion",) if expands else ())


def _placed(link: Link, node: Node) -> Link:
    """The link, with how near the device is to which memory, and what the firmware says of that."""
    own = numa.of_memory(node) if link.device_class == "memory" else None
    near = own if own is not None else numa.near(node)
    access = numa.access(node.tree, own) if own is not None else None
    access = access or numa.performance(node.tree.node(f"{node.path}/access0"))  # A CXL region's.
    told = access.read_bandwidth if access else None
    return replace(
        link,
        numa_node=near,
        distances=numa.distances(node.tree, near) if near is not None else None,
        access=access,
        bandwidth=link.bandwidth if link.bandwidth is not None else told,
    )
