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


def fpga(node: Node, _: Context) -> Facts | None:
    """An FPGA manager: what programs an FPGA."""
    return Facts(
        model=node.attr("name"),
        node=node.devnode,
        properties={"kind": "fpga", "manager_state": node.attr("state")},
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
