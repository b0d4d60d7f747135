# SPDX-License-Identifier: Apache-2.0
"""CXL memory devices and regions."""

from __future__ import annotations

import re

from ..sysfs import Node
from .facts import Context, Facts, known, size_of


def cxl(node: Node, _: Context) -> Facts | None:
    """A CXL memory device, or a region made of some."""
    if re.fullmatch(r"mem\d+", node.name):
        return Facts(
            model="CXL memory device",
            serial=node.attr("serial") if node.integer("serial") else "",
            node=node.devnode,
            properties={
                "volatile_size": size_of(node.attr("ram/size")),
                "persistent_size": size_of(node.attr("pmem/size")),
                "firmware": node.attr("firmware_version"),
                "numa_node": known(node.attr("numa_node")),
            },
        )
    if re.fullmatch(r"region\d+", node.name):
        return Facts(
            model="CXL region",
            properties={
                "size": size_of(node.attr("size")),
                "mode": node.attr("mode"),
                "uuid": node.attr("uuid"),
                "interleave_ways": node.attr("interleave_ways"),
                "interleave_granularity": size_of(node.attr("interleave_granularity")),
                "start": node.attr("resource"),
            },
        )
    return None
