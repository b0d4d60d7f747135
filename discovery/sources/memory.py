# SPDX-License-Identifier: Apache-2.0
"""Memory: NUMA nodes, device DAX, persistent memory."""

from __future__ import annotations

import re

from ..sysfs import Node
from .facts import Context, Facts, known


def numa_node(node: Node, _: Context) -> Facts | None:
    """A NUMA node's memory. One without processors is memory on a bus, as CXL expanders are."""
    total = re.search(r"MemTotal:\s+(\d+) kB", node.attr("meminfo"))
    if not total or total[1] == "0":
        return None
    cpus = node.attr("cpulist")
    return Facts(
        model="system RAM" if cpus else "system RAM without processors",
        properties={
            "size": str(int(total[1]) * 1024),
            "processors": cpus,
            "distance": node.attr("distance"),
        },
    )


def dax(node: Node, _: Context) -> Facts | None:
    """A device-DAX range, or one that the kernel uses as ordinary RAM."""
    if not node.integer("size"):
        return None  # A seed: the kernel's empty slot for the next one.
    facts = Facts(node=node.devnode)
    facts.model = "device DAX"
    facts.kernel = "kernel driver kmem: it is part of system RAM" if node.driver == "kmem" else ""
    facts.hint = f"daxctl reconfigure-device --mode=devdax {node.name}"
    facts.properties = {
        "size": node.attr("size"),
        "align": node.attr("align"),
        "numa_node": known(node.attr("numa_node")),
        "target_node": known(node.attr("target_node")),
    }
    return facts


def pmem(node: Node, _: Context) -> Facts | None:
    """A persistent-memory disk (other block devices are not memory)."""
    if not re.fullmatch(r"pmem\d+(\.\d+)?s?", node.name):
        return None
    facts = Facts(node=node.devnode)
    facts.model = "persistent memory"
    facts.properties = {
        "size": str((node.integer("size") or 0) * 512),
        "dax": node.attr("queue/dax"),
        "read-only": "yes" if node.attr("ro") == "1" else "",
        "numa_node": known(node.attr("device/numa_node")),
    }
    return facts


def nvdimm(node: Node, _: Context) -> Facts | None:
    """An NVDIMM module; programs use the namespaces on it."""
    if not re.fullmatch(r"nmem\d+", node.name):
        return None
    return Facts(
        model="NVDIMM",
        serial=node.attr("nfit/serial"),
        properties={"id": node.attr("nfit/id"), "state": node.attr("state")},
    )
