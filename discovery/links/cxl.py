# SPDX-License-Identifier: Apache-2.0
"""CXL: which memory devices a region is made of, and what they speak.

The files are those of Documentation/ABI/testing/sysfs-bus-cxl.
"""

from __future__ import annotations

import re

from ..sysfs import Node


def memories(node: Node) -> list[Node]:
    """The memory devices behind a CXL device, region, or what is made of a region (DAX, disk)."""
    for step in node.line():
        if step.subsystem == "cxl" and re.fullmatch(r"mem\d+", step.name):
            return [step]
        if step.subsystem == "cxl" and re.fullmatch(r"region\d+", step.name):
            return _targets(step)
        if step.subsystem == "nd" and re.fullmatch(r"nmem\d+", step.name):
            return _persistent([step])
        if step.subsystem == "nd" and re.fullmatch(r"region\d+", step.name):
            return _at(step) or _persistent(_modules(step))
    return []


def function(memory: Node) -> Node | None:
    """The PCI function that a CXL memory device is."""
    return next((step for step in memory.line() if step.subsystem == "pci"), None)


def of_function(node: Node) -> Node | None:
    """The CXL memory device that a PCI function is; None for one that is none."""
    names = (name for name in node.names() if re.fullmatch(r"mem\d+", name))
    found = (node.tree.node(f"{node.path}/{name}") for name in names)
    return next((memory for memory in found if memory.subsystem == "cxl"), None)


def protocols(memory: Node) -> tuple[str, ...]:
    """What a device speaks. One that caches (type 2) has decoders of target type "accelerator"."""
    spoken = ["CXL.io", "CXL.mem"]
    types = {decoder.attr("target_type") for decoder in _decoders(memory)}
    return (*spoken, "CXL.cache") if "accelerator" in types else tuple(spoken)


def _decoders(memory: Node) -> list[Node]:
    return [
        node
        for node in memory.tree.nodes("cxl")
        if node.name.startswith("decoder") and _memory_of(node) == memory.path
    ]


def _at(region: Node) -> list[Node]:
    """The devices of the CXL region at the addresses of a persistent one; they are for root."""
    start = region.attr("resource")
    regions = (node for node in region.tree.nodes("cxl") if node.name.startswith("region"))
    found = (_targets(node) for node in regions if start and node.attr("resource") == start)
    return next(found, [])


def _modules(region: Node) -> list[Node]:
    """The NVDIMMs that a persistent region is made of ("mapping0": name, start, length, place)."""
    names = sorted(name for name in region.names() if re.fullmatch(r"mapping\d+", name))
    wanted = {region.attr(name).split(",")[0] for name in names}
    return [node for node in region.tree.nodes("nd") if node.name in wanted]


def _persistent(modules: list[Node]) -> list[Node]:
    """The CXL memory devices that NVDIMMs really are; those of other kinds are left out."""
    if not modules:
        return []
    providers = {module.attr("cxl/provider") for module in modules} - {""}
    found = (node for node in modules[0].tree.nodes("cxl") if node.name in providers)
    return [above for above in (node.parent for node in found) if above is not None]


def _targets(region: Node) -> list[Node]:
    """A region names the decoders it is made of; each is below the port of a memory device."""
    decoders = {node.name: node for node in region.tree.nodes("cxl")}
    names = sorted(name for name in region.names() if re.fullmatch(r"target\d+", name))
    wanted = [decoders.get(region.attr(name)) for name in names]
    paths = dict.fromkeys(_memory_of(decoder) for decoder in wanted if decoder)
    return [region.tree.node(path) for path in paths if path]


def _memory_of(decoder: Node) -> str:
    """The folder of the memory device that an endpoint's decoder belongs to, "" for others."""
    port = decoder.parent
    return port.target("uport") if port is not None and port.name.startswith("endpoint") else ""
