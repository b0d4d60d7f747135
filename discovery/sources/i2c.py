# SPDX-License-Identifier: Apache-2.0
"""I2C adapters and the devices on them."""

from __future__ import annotations

import os
import re

from ..sysfs import Node
from .facts import Context, Facts


def i2c(node: Node, _context: Context) -> Facts | None:
    """An I2C adapter, or a device on one."""
    if adapter := re.fullmatch(r"i2c-(\d+)", node.name):
        exists = os.path.isdir(f"{node.path}/i2c-dev/{node.name}")
        return Facts(
            model=node.attr("name"),
            node=f"/dev/{node.name}" if exists else "",
            hint="sudo modprobe i2c-dev",
            fields={"bus": adapter[1]},
        )
    place = re.fullmatch(r"(\d+)-([0-9a-f]{4})", node.name)
    if not place:
        return Facts(model=node.attr("name"))  # Named by ACPI: the name does not tell the address.
    bus, address = place[1], int(place[2], 16)
    ten_bit = address & 0xA000 == 0xA000  # i2c_encode_flags_to_addr() in i2c-core-base.c
    address &= 0x3FF if ten_bit else 0x7F
    return Facts(
        model=node.attr("name"),
        node=f"/dev/i2c-{bus}",
        properties={"address": f"{address:#04x}", "address_bits": "10" if ten_bit else "7"},
        kernel=f"kernel driver {node.driver}" if node.driver else "",
        hint="sudo modprobe i2c-dev",
        fields={"bus": bus, "address": f"{address:#04x}"},
    )
