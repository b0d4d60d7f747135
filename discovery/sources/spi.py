# SPDX-License-Identifier: Apache-2.0
"""SPI controllers and the devices on them."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def spi_controller(_node: Node, _: Context) -> Facts | None:
    """An SPI controller; programs open the devices on it."""
    return Facts(model="SPI controller")


def spi(node: Node, _: Context) -> Facts | None:
    """A device on an SPI bus; programs reach it through spidev only."""
    bus, _dot, chip = node.name.removeprefix("spi").partition(".")
    spidev = next(iter(node.names("spidev")), "")
    hint = f"echo spidev | sudo tee /sys{node.devpath}/driver_override"
    return Facts(
        model=node.attr("modalias").removeprefix("spi:"),
        node=f"/dev/{spidev}" if spidev else "",
        properties={"modalias": node.attr("modalias")},
        kernel=f"kernel driver {node.driver}" if node.driver and not spidev else "",
        hint=f"{hint}; echo {node.name} | sudo tee /sys/bus/spi/drivers/spidev/bind",
        fields={"bus": bus, "chip": chip},
    )
