# SPDX-License-Identifier: Apache-2.0
"""Network interfaces."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts, bit_rate


def network(node: Node, _: Context) -> Facts | None:
    """A network interface, the machine's own loop excepted (<linux/if_arp.h>)."""
    if node.attr("type") == "772":
        return None
    virtual = "/devices/virtual/" in node.path
    return Facts(
        model=f"virtual interface {node.properties.get('DEVTYPE', '')}".strip() if virtual else "",
        addresses=[address] if (address := node.attr("address")) else [],
        properties={
            "link": node.attr("operstate"),
            "speed": bit_rate(node.attr("speed")),
            "mtu": node.attr("mtu"),
            "kind": node.properties.get("DEVTYPE", ""),
        },
    )
