# SPDX-License-Identifier: Apache-2.0
"""PWM chips."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def pwm(node: Node, _: Context) -> Facts | None:
    """A PWM chip, whose channels are exported through sysfs."""
    if not node.name.startswith("pwmchip"):
        return None
    return Facts(
        node=f"/sys{node.devpath}/export",
        mode="w",
        properties={"channels": node.attr("npwm")},
    )
