# SPDX-License-Identifier: Apache-2.0
"""Links from device to device, as far as sysfs names them.

AMD's XGMI (Documentation/gpu/amdgpu, "xgmi_hive_info") and RDMA ports (Documentation/ABI/stable/
sysfs-class-infiniband). NVIDIA's driver does not show NVLink in sysfs.
"""

from __future__ import annotations

import re

from ..sysfs import Node, natural
from .link import Fabric


def fabrics(function: Node) -> tuple[Fabric, ...]:
    """The links that a PCI function has to other devices."""
    return (*_hive(function), *_rdma(function))


def note(function: Node) -> str:
    """What of a function's links is hidden here, "" when nothing is."""
    if function.driver != "nvidia":
        return ""
    return "NVLink, if it has any, is not in sysfs: nvidia-smi nvlink --status"


def _hive(function: Node) -> list[Fabric]:
    number = function.attr("xgmi_hive_info/xgmi_hive_id")
    if not number:
        return []
    others = (node for node in function.tree.nodes("pci") if node.path != function.path)
    peers = [n.name for n in others if n.attr("xgmi_hive_info/xgmi_hive_id") == number]
    return [Fabric("xgmi", f"hive {number}", tuple(sorted(peers, key=natural)), None)]


def _rdma(function: Node) -> list[Fabric]:
    found = []
    for device in function.names("infiniband"):
        for port in function.names(f"infiniband/{device}/ports"):
            place = f"infiniband/{device}/ports/{port}"
            gigabits = re.match(r"([\d.]+) Gb/sec", function.attr(f"{place}/rate"))
            kind = function.attr(f"{place}/link_layer").lower() or "infiniband"
            speed = float(gigabits[1]) * 1e9 / 8 if gigabits else None
            found.append(Fabric(kind, f"{device} port {port}", (), speed))
    return found
