# SPDX-License-Identifier: Apache-2.0
"""Accelerators: GPUs, NPUs, FPGAs, processors beside the main ones."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def drm(node: Node, _: Context) -> Facts | None:
    """A GPU's render node: what computes. Nodes that only show pictures are left out."""
    if not node.name.startswith("renderD"):
        return None
    return Facts(node=node.devnode, properties={"kind": "gpu"})


def accel(node: Node, _: Context) -> Facts | None:
    """A compute accelerator (kernel documentation: accel/introduction.rst)."""
    return Facts(node=node.devnode, properties={"kind": "accel"})


def module(node: Node, _: Context) -> Facts | None:
    """An inference module whose driver has a class of its own: Hailo's, Google's Coral (apex)."""
    return Facts(node=node.devnode, properties={"kind": "accel"})


def waiting(node: Node, _: Context) -> Facts | None:
    """A PCI function that says it is an accelerator, and that no kernel driver has taken.

    Those that one has taken are listed by what it makes of them.
    """
    if (node.integer("class") or 0) >> 16 != _PROCESSING_ACCELERATOR or node.driver:
        return None
    hint = "no kernel driver has taken it: sudo modprobe, or install, that of its maker"
    return Facts(addresses=[node.name], properties={"kind": "accel"}, hint=hint)


_PROCESSING_ACCELERATOR = 0x12
"""Base class: PCI Code and ID Assignment Specification 1.15, section 1.19."""


def fpga(node: Node, _: Context) -> Facts | None:
    """An FPGA manager: what programs an FPGA."""
    return Facts(
        model=node.attr("name"),
        node=node.devnode,
        properties={"kind": "fpga", "manager_state": node.attr("state")},
    )


def fpga_region(node: Node, _: Context) -> Facts | None:
    """A part of an FPGA that can be programmed by itself (Documentation/driver-api/fpga)."""
    return Facts(
        model=node.attr("name") or "FPGA region",
        properties={"kind": "fpga region", "compatible_id": node.attr("compat_id")},
    )


def remoteproc(node: Node, _: Context) -> Facts | None:
    """A processor beside the main ones: DSP, microcontroller, NPU."""
    return Facts(
        model=node.attr("name"),
        properties={
            "kind": "remote processor",
            "processor_state": node.attr("state"),
            "firmware": node.attr("firmware"),
        },
    )
