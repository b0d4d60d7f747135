# SPDX-License-Identifier: Apache-2.0
"""LEDs."""

from __future__ import annotations

import re

from ..sysfs import Node
from .facts import Context, Facts


def led(node: Node, _: Context) -> Facts | None:
    """An LED."""
    trigger = re.search(r"\[([^]]+)\]", node.attr("trigger"))
    return Facts(
        node=f"/sys{node.devpath}/brightness",
        properties={
            "brightness": node.attr("brightness"),
            "max_brightness": node.attr("max_brightness"),
            "trigger": trigger[1] if trigger else "",
        },
    )
