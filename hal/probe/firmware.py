# SPDX-License-Identifier: Apache-2.0
"""What a device tree says of a device that the kernel does not have."""

from __future__ import annotations

import re

from hal.discovery.devicetree import DeviceTree, TreeNode, device_tree

_KINDS = (
    (r"(?:/dev/)?i2c[-:]?(\d+)\b", "i2c"),
    (r"(?:/dev/)?spi(?:dev)?:?(\d+)\b", "spi"),
    (r"(?:uart:)?(?:/dev/)?(?:tty[A-Z]{1,3}|serial)(\d+)$", "serial"),
    (r"pwm(?:chip|:pwmchip)?(\d+)\b", "pwm"),
    (r"can(\d+)$", "can"),
)
"""How names of devices look, and what their nodes are called (Devicetree Specification, 2.2.2)."""

_MOST = 3
"""Nodes that are told of where the number does not say which is meant."""


def disabled(name: str, root: str) -> tuple[str, list[str]]:
    """Why the firmware's device tree keeps a device from the kernel, and what to do.

    Args:
        name: What the user calls it: "i2c-1", "/dev/ttyAMA2", "spi:0.0".
        root: Where the machine's root is.

    Returns:
        The reason, "" when there is no tree or it is not in the way; and what to do.
    """
    matches = ((re.match(pattern, name), kind) for pattern, kind in _KINDS)
    asked = [(match[1], kind) for match, kind in matches if match]
    tree = device_tree(root=root) if asked else None
    if tree is None:
        return "", []
    told = [tree.explain(node) for number, kind in asked for node in _meant(tree, kind, number)]
    return "; ".join(why for why, _ in told), [step for _, steps in told for step in steps]


def _meant(tree: DeviceTree, kind: str, number: str) -> list[TreeNode]:
    """The node with that alias, if it is disabled; where none has it, all disabled of the kind."""
    path = tree.aliases.get(f"{kind}{number}")
    nodes = tree.disabled()
    if path is not None:
        return [node for node in nodes if path == node.path or path.startswith(f"{node.path}/")]
    return [node for node in nodes if node.name.partition("@")[0] == kind][:_MOST]
