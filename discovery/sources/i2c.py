# SPDX-License-Identifier: Apache-2.0
"""I2C adapters and the devices on them."""

from __future__ import annotations

import os
import re

from ..sysfs import Node
from .facts import Context, Facts


def i2c(node: Node, context: Context) -> Facts | None:
    """An I2C adapter, or a device on one."""
    if adapter := re.fullmatch(r"i2c-(\d+)", node.name):
        exists = os.path.isdir(f"{node.path}/i2c-dev/{node.name}")
        return Facts(
            model=node.attr("name"),
            node=f"/dev/{node.name}" if exists else "",
            hint=_HINT,
            fields={"bus": adapter[1]},
        )
    place = _place(node, context)
    if place is None:
        return Facts(model=node.attr("name"))
    bus, address, ten_bit = place
    return Facts(
        model=node.attr("name"),
        node=f"/dev/i2c-{bus}",
        properties={"address": f"{address:#04x}", "address_bits": "10" if ten_bit else "7"},
        kernel=f"kernel driver {node.driver}" if node.driver else "",
        hint=_HINT,
        fields={"bus": bus, "address": f"{address:#04x}"},
    )


_HINT = "sudo modprobe i2c-dev"


def _place(node: Node, context: Context) -> tuple[str, int, bool] | None:
    """A device's bus and address, and whether it is one of ten bits; None when nobody tells."""
    if name := re.fullmatch(r"(\d+)-([0-9a-f]{4})", node.name):
        address = int(name[2], 16)
        ten_bit = address & 0xA000 == 0xA000  # i2c_encode_flags_to_addr() in i2c-core-base.c
        return name[1], address & (0x3FF if ten_bit else 0x7F), ten_bit
    # Named by ACPI, "i2c-ELAN0678:00": the name does not tell, but the firmware's tables may.
    told = context.i2c_places.get(node.attr("firmware_node/path"))
    bus = node.parent.name.removeprefix("i2c-") if node.parent else ""
    return (bus, told.address, told.ten_bit) if told and bus.isdigit() else None
