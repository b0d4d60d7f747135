# SPDX-License-Identifier: Apache-2.0
"""How far memory is, as the firmware tells it.

Distances are those of ACPI's SLIT, latency and bandwidth those of its HMAT, as the kernel shows
them (Documentation/admin-guide/mm/numaperf.rst).
"""

from __future__ import annotations

import re

from ..sysfs import Node, Sysfs
from .link import Access

_PLACE = "devices/system/node"


def of_memory(device: Node) -> int | None:
    """The NUMA node that a memory device is, or would be as system RAM; None for other devices."""
    for step in device.line():
        if re.fullmatch(r"node\d+", step.name) and step.subsystem == "node":
            return int(step.name.removeprefix("node"))
        number = step.integer("target_node")
        if number is not None and number >= 0:
            return number
    return None


def near(device: Node) -> int | None:
    """The NUMA node that a device, or what it hangs on, is near; None when nobody says."""
    numbers = (step.integer("numa_node") for step in device.line())
    return next((number for number in numbers if number is not None and number >= 0), None)


def distances(tree: Sysfs, number: int) -> dict[int, int] | None:
    """Distances from a node to each that is on line; None when there is no such node."""
    told = tree.read(f"{tree.sys}/{_PLACE}/node{number}/distance").split()
    nodes = _nodes(tree)
    if not told or len(told) != len(nodes):
        return None
    return dict(zip(nodes, map(int, told), strict=True))


def has_processors(tree: Sysfs, number: int) -> bool:
    """Has a node processors of its own?"""
    return bool(tree.read(f"{tree.sys}/{_PLACE}/node{number}/cpulist"))


def access(tree: Sysfs, number: int) -> Access | None:
    """What the firmware says of a node's memory; None when it says nothing.

    Class 1 is of the nearest processors, class 0 of the nearest initiator of any kind.
    """
    for kind in ("access1", "access0"):
        found = performance(tree.node(f"{tree.sys}/{_PLACE}/node{number}/{kind}/initiators"))
        if found is not None:
            return found
    return None


def performance(node: Node) -> Access | None:
    """The four figures from a folder that has them (latencies in ns, bandwidths in MB/s)."""
    latencies = [node.integer(f"{way}_latency") or None for way in ("read", "write")]
    rates = [node.integer(f"{way}_bandwidth") or None for way in ("read", "write")]
    if not any(latencies) and not any(rates):
        return None
    speeds = [rate * 1e6 if rate else None for rate in rates]
    return Access(latencies[0], latencies[1], speeds[0], speeds[1])


def _nodes(tree: Sysfs) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, tree.read(f"{tree.sys}/{_PLACE}/online").split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
