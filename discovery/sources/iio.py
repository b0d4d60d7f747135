# SPDX-License-Identifier: Apache-2.0
"""Industrial I/O: converters and sensors."""

from __future__ import annotations

import re

from ..sysfs import Node
from .facts import Context, Facts


def iio(node: Node, _: Context) -> Facts | None:
    """An industrial I/O device: converter or sensor."""
    if not node.name.startswith("iio:device"):
        return None  # A trigger.
    facts = Facts(node=node.devnode)
    facts.model = node.attr("name") or node.attr("label")
    channels = [n for n in node.names() if re.fullmatch(r"in_.*_(raw|input)|out_.*_raw", n)]
    facts.properties = {"channels": " ".join(re.sub(r"_(raw|input)$", "", n) for n in channels)}
    return facts
