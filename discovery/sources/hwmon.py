# SPDX-License-Identifier: Apache-2.0
"""Monitoring chips."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def hwmon(node: Node, _: Context) -> Facts | None:
    """A monitoring chip: temperatures, voltages, fans, power."""
    inputs = [n.removesuffix("_input") for n in node.names() if n.endswith("_input")]
    labels = {name: node.attr(f"{name}_label") for name in inputs}
    return Facts(
        model=node.attr("name"),
        node=f"/sys{node.devpath}/name",
        mode="r",
        properties={"sensors": ", ".join(f"{n} ({t})" if t else n for n, t in labels.items())},
    )
