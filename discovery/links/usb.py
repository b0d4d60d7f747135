# SPDX-License-Identifier: Apache-2.0
"""USB links (Documentation/ABI/stable/sysfs-bus-usb, testing/sysfs-bus-usb).

Bandwidth up to USB 2 is that of bulk transfers as the frame has room for (USB 2.0 Specification,
tables 5-7, 5-9 and 5-10), from USB 3 on that of the wire after 8b/10b or 128b/132b encoding
(USB 3.2 Specification, 6.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..sysfs import Node
from .link import Finding, Hop, Rate

_SPEEDS = {
    ("1.5", 1): ("USB 1.1 low speed", "frames of 1 ms", 48e3),
    ("12", 1): ("USB 1.1 full speed", "frames of 1 ms", 1.216e6),
    ("480", 1): ("USB 2.0 high speed", "frames of 125 us", 53.248e6),
    ("5000", 1): ("USB 3.2 Gen 1", "8b/10b", 5e9 / 8 * 0.8),
    ("10000", 2): ("USB 3.2 Gen 1x2", "8b/10b", 10e9 / 8 * 0.8),
    ("10000", 1): ("USB 3.2 Gen 2", "128b/132b", 10e9 / 8 * 128 / 132),
    ("20000", 2): ("USB 3.2 Gen 2x2", "128b/132b", 20e9 / 8 * 128 / 132),
}
"""By Mbit/s and lanes: the standard, what the wire adds, bytes a second."""

_BOS_CAPABILITY, _SUPER_SPEED, _SUPER_SPEED_PLUS = 0x10, 0x03, 0x0A
"""Types of descriptors: USB 3.2 Specification, tables 9-6 and 9-14."""


def is_device(node: Node) -> bool:
    """Is this a USB device: not one of its interfaces, and no port?"""
    return node.subsystem == "usb" and bool(node.attr("idVendor"))


def is_root(node: Node) -> bool:
    """Is this a root hub: the controller's own ports?"""
    return bool(re.fullmatch(r"usb\d+", node.name))


def current(node: Node) -> Rate | None:
    """What a device runs at."""
    speed, lanes = node.attr("speed"), node.integer("rx_lanes") or 1
    known = _SPEEDS.get((speed, lanes)) or _SPEEDS.get((speed, 2))
    if known is None:
        return None
    standard, encoding, bandwidth = known
    return Rate(f"{speed} Mbit/s", standard, lanes, encoding, bandwidth)


def highest(node: Node) -> Rate | None:
    """What a device can, as far as it says; at least what it does."""
    speed, now = _said(node), current(node)
    known = _SPEEDS.get((speed, 1))
    if known is None or (now is not None and now.bandwidth >= known[2]):
        return now
    return Rate(f"{speed} Mbit/s", known[0], 1, known[1], known[2])


def hops(node: Node) -> Iterator[Hop]:
    """The links from a device through its hubs to the controller."""
    for step in node.line():
        if not is_device(step) or is_root(step):
            return
        above = hub(step)
        now, port = current(step), current(above) if above else None
        slower = min(
            filter(None, (highest(step), port)), key=lambda rate: rate.bandwidth, default=None
        )
        yield Hop(step.name, above.name if above else "", now, slower)


def hub(node: Node) -> Node | None:
    """The hub a device is plugged into."""
    above = node.parent
    return above if above is not None and is_device(above) else None


def findings(node: Node) -> Iterator[Finding]:
    """Why a device is slower than it could."""
    now, could, above = current(node), highest(node), hub(node)
    if now is None or could is None or above is None or now.bandwidth >= could.bandwidth:
        return
    text = f"{now.text}, the device can {could.text} ({could.standard})"
    slow = _slow_hub(node)
    if now.bandwidth > 100e6:
        port = current(above)
        if port is not None and port.bandwidth < could.bandwidth:
            yield Finding("older port", f"{text}: hub {above.name} has {port.text}; a faster port")
        else:
            yield Finding("cable", f"{text}: both ends can; a better or shorter cable")
    elif slow is not None:
        advice = "a USB 3 hub, or straight into the machine"
        yield Finding("older hub", f"{text}: it is behind the USB 2 hub {slow.name}; {advice}")
    elif _has_fast_side(above, node):
        advice = "its port has the USB 3 wires, the cable or plug in between has not"
        yield Finding("USB 2 cable", f"{text}: {advice}: use a USB 3 cable, push it in fully")
    else:
        advice = "the port has the USB 2 wires alone: use a USB 3 port (blue, or marked SS)"
        yield Finding("USB 2 port", f"{text}: {advice}")


def _slow_hub(node: Node) -> Node | None:
    """The hub on the way up whose port has the USB 2 wires alone, if one is."""
    step, above = node, hub(node)
    while above is not None and not is_root(above):
        if not _has_fast_side(above, step):
            return above
        step, above = above, hub(above)
    return None


def _has_fast_side(above: Node, node: Node) -> bool:
    """Has the port that a device is in USB 3 wires too (the kernel's link "peer")?"""
    number = re.split(r"[-.]", node.name)[-1]
    prefix = above.name if not is_root(above) else f"{above.name.removeprefix('usb')}-0"
    ports = f"{above.path}/{prefix}:1.0/{above.name}-port{number}"
    return bool(above.tree.node(ports).link("peer"))


def _said(node: Node) -> str:
    """The highest speed, in Mbit/s, that a device's descriptors name; "" for none above USB 2."""
    bos = node.raw("bos_descriptors")  # Linux 6.10
    offset, speed = 5, ""
    while offset + 3 <= len(bos) and bos[offset] >= 3:
        length, kind, capability = bos[offset : offset + 3]
        if kind == _BOS_CAPABILITY and capability == _SUPER_SPEED_PLUS:
            return "10000"
        if kind == _BOS_CAPABILITY and capability == _SUPER_SPEED:
            speed = "5000"
        offset += length
    return speed or ("5000" if _version(node) >= 3 else "")


def _version(node: Node) -> float:
    """The standard a device was made for, as its descriptor has it ("bcdUSB")."""
    try:
        return float(node.attr("version"))
    except ValueError:
        return 0
