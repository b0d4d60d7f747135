# SPDX-License-Identifier: Apache-2.0
"""Cameras, codecs and sound cards."""

from __future__ import annotations

from ..sysfs import Node
from .facts import Context, Facts


def video(node: Node, _: Context) -> Facts | None:
    """A camera, codec or tuner."""
    return Facts(model=node.attr("name"), node=node.devnode)


def sound(node: Node, _: Context) -> Facts | None:
    """A sound card."""
    number = node.name.removeprefix("card")
    if not number.isdigit():
        return None
    return Facts(model=node.attr("id"), node=f"/dev/snd/controlC{number}")
