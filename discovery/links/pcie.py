# SPDX-License-Identifier: Apache-2.0
"""PCI Express links (Documentation/ABI/testing/sysfs-bus-pci: current_link_speed and the like).

Encodings are those of the PCI Express Base Specification 6.0: 8b/10b up to 5 GT/s (4.2.1),
128b/130b up to 32 GT/s (4.2.2), and from 64 GT/s flits of 256 bytes, of which 236 carry packets
(4.2.3). Over CXL, flits of 68 bytes carry 64, those of 256 carry 240 (CXL Specification 3.0, 6.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..sysfs import Node
from .link import Finding, Hop, Rate

_SPEEDS = {
    2.5: ("1.0", "8b/10b", 0.8),
    5.0: ("2.0", "8b/10b", 0.8),
    8.0: ("3.0", "128b/130b", 128 / 130),
    16.0: ("4.0", "128b/130b", 128 / 130),
    32.0: ("5.0", "128b/130b", 128 / 130),
    64.0: ("6.0", "PAM4, flits of 256 B", 236 / 256),
    128.0: ("7.0", "PAM4, flits of 256 B", 236 / 256),
}
"""By GT/s: the standard that brought the speed, its encoding, what part of it is payload."""

_BRIDGE = 0x0604


def rate(speed: float, lanes: int, *, cxl: bool = False) -> Rate | None:
    """What a link of so many GT/s and lanes carries; None for a speed that no standard has."""
    if speed not in _SPEEDS or not 1 <= lanes <= 32:
        return None
    version, encoding, payload = _SPEEDS[speed]
    if cxl:
        flits = speed >= 64
        payload = 240 / 256 if flits else payload * 64 / 68
        encoding = f"{encoding}{'' if flits else ', flits of 68 B'}"
    standard = f"{'CXL on ' if cxl else ''}PCIe {version}"
    return Rate(
        f"{speed:g} GT/s x{lanes}", standard, lanes, encoding, speed * 1e9 / 8 * lanes * payload
    )


def current(node: Node, *, cxl: bool = False) -> Rate | None:
    """What a function's link runs at; None when it hangs on none, or the kernel cannot tell."""
    return _rate(node, "current", cxl=cxl)


def highest(node: Node, *, cxl: bool = False) -> Rate | None:
    """What a function's end of the link can."""
    return _rate(node, "max", cxl=cxl)


def hops(node: Node, *, cxl: bool = False) -> Iterator[Hop]:
    """The links from a function up to the root complex.

    Those inside a switch, from its upper to its lower ports, are no links.
    """
    below: Node | None = real(node)
    while below is not None and below.subsystem == "pci":
        port = upper(below)
        if port is None:
            return
        both = _both(below, port, cxl=cxl)
        if current(below) or both:
            yield Hop(below.name, port.name, current(below, cxl=cxl), both)
        below = upper(port)


def is_port(node: Node) -> bool:
    """Is this the upper end of a link: a root port, or a switch's lower port?"""
    above = upper(node)
    return is_bridge(node) and (above is None or not is_port(above))


def is_bridge(node: Node) -> bool:
    """Is this a bridge from one PCI bus to another?"""
    return (node.integer("class") or 0) >> 8 == _BRIDGE


def upper(node: Node) -> Node | None:
    """The PCI function above one; None at the root."""
    above = node.parent
    return above if above is not None and above.subsystem == "pci" else None


def real(node: Node) -> Node:
    """The function that has the link: a virtual one (SR-IOV) hangs on that of its physical one."""
    name = node.link("physfn")
    return node.tree.node(f"{node.path.rpartition('/')[0]}/{name}") if name else node


def slot(node: Node) -> str:
    """The name of a function's slot on the board, "" when the firmware has none."""
    place = node.name.rpartition(".")[0]
    folder = node.tree.node(f"{node.tree.sys}/bus/pci/slots")
    slots = (name for name in folder.names() if folder.attr(f"{name}/address") == place)
    return next(slots, "")


def findings(node: Node, way: tuple[Hop, ...]) -> Iterator[Finding]:
    """Why a function's link is slower than the function could."""
    mine, port = highest(node), upper(node)
    now, theirs = current(node), highest(port) if port else None
    if mine is None or now is None or port is None:
        return
    if theirs is not None:
        yield from _ports(mine, theirs, port.name)
        yield from _trained(node, now, _least(mine, theirs))
    yield from _above(now, way)


def _ports(mine: Rate, theirs: Rate, port: str) -> Iterator[Finding]:
    if _speed(theirs) < _speed(mine):
        text = f"port {port} is {theirs.standard} ({_speed(theirs):g} GT/s), the device"
        advice = "a newer slot, or a firmware setting that limits it"
        yield Finding("older port", f"{text} {mine.standard} ({_speed(mine):g} GT/s): {advice}")
    if theirs.lanes < mine.lanes:
        text = f"port {port} has x{theirs.lanes} of the x{mine.lanes} that the device could use"
        advice = "a wider slot, or lanes that the firmware has split up (bifurcation)"
        yield Finding("slot width", f"{text}: {advice}")


def _trained(node: Node, now: Rate, both: Rate) -> Iterator[Finding]:
    if now.lanes < both.lanes:
        text = f"x{now.lanes} of the x{both.lanes} that both ends have"
        advice = "a slot with fewer lanes wired than it is long, a riser, dirty or loose contacts"
        yield Finding("lanes lost", f"{text}: {advice}")
    if _speed(now) < _speed(both):
        text = f"{_speed(now):g} GT/s where both ends can {_speed(both):g}"
        asleep = " (it is suspended)" if node.attr("power/runtime_status") == "suspended" else ""
        advice = "it may be idle: links slow down to save power; look again under load. If it stays"
        more = "riser, cable, contacts; errors show in: sudo dmesg | grep -i aer"
        yield Finding("trained down", f"{text}{asleep}: {advice}: {more}")


def _above(now: Rate, way: tuple[Hop, ...]) -> Iterator[Finding]:
    for hop in way[1:]:
        if hop.now is not None and hop.now.bandwidth < now.bandwidth:
            text = f"{hop.device} above it is on {hop.now.text} ({hop.now.standard})"
            yield Finding("slower above", f"{text}: what is behind that shares it")
            return


def _both(node: Node, port: Node, *, cxl: bool) -> Rate | None:
    """What both ends can; what one can when the other does not tell."""
    mine, theirs = highest(node, cxl=cxl), highest(port, cxl=cxl)
    if mine is None or theirs is None:
        return mine or theirs
    return _least(mine, theirs, cxl=cxl)


def _least(one: Rate, other: Rate, *, cxl: bool = False) -> Rate:
    found = rate(min(_speed(one), _speed(other)), min(one.lanes, other.lanes), cxl=cxl)
    return found or one


def _speed(rate: Rate) -> float:
    return float(rate.text.split()[0])


def _rate(node: Node, which: str, *, cxl: bool) -> Rate | None:
    speed = re.match(r"[\d.]+", node.attr(f"{which}_link_speed"))  # "8.0 GT/s PCIe"
    lanes = node.integer(f"{which}_link_width")
    return rate(float(speed[0]), lanes, cxl=cxl) if speed and lanes else None
