# SPDX-License-Identifier: Apache-2.0
"""GPIO chips."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def gpio(node: Node, _: Context) -> Facts | None:
    """A GPIO chip; not the chips and lines of the old sysfs interface."""
    if node.path.split("/")[-2] == "gpio":
        return None
    facts = Facts(node=node.devnode)
    above = node.parent
    chips = [name for name in above.names("gpio") if name.startswith("gpiochip")] if above else []
    if above and len(chips) == 1:  # The old interface, where the kernel has it, tells more.
        facts.model = above.attr(f"gpio/{chips[0]}/label")
        facts.properties = {"lines": above.attr(f"gpio/{chips[0]}/ngpio")}
    return facts
