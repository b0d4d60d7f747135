# SPDX-License-Identifier: Apache-2.0
"""hal-probe links: what each accelerator, memory and bus device is reached over."""

from __future__ import annotations

from collections.abc import Iterable

from hal.discovery.links import SUITS, Link, Rate, local_links

from . import output
from .outcome import Exit


def run(root: str, *, json: bool, slower: bool = False) -> Exit:
    """Print the links.

    Args:
        root: Where the machine's root is.
        json: As JSON.
        slower: Those alone whose device could have a faster one.
    """
    links = [link for link in local_links(root) if link.findings or not slower]
    if json:
        output.emit("links", {"links": [link.as_dict() for link in links], "suits": SUITS})
    else:
        _print(links)
    return Exit.OK


def _print(links: list[Link]) -> None:
    output.table(("NAME", "LINK", "DEVICE CAN", "BANDWIDTH", "NODE", "SUITS"), _rows(links))
    for heading, lines in (
        ("Slower than the device could be:", _slower(links)),
        ("Memory, as the firmware tells it to its nearest processors:", _memory(links)),
        ("Between devices:", _fabrics(links)),
        ("Notes:", _notes(links)),
    ):
        found = list(lines)
        if found:
            output.say()
            output.say(heading, "bold")
        for line in found:
            output.say(f"  {line}")


def _rows(links: Iterable[Link]) -> Iterable[tuple[str, ...]]:
    device_class = ""
    for link in links:
        if link.device_class != device_class:
            device_class = link.device_class
            yield (device_class,)
        yield (
            f"  {link.name}",
            _worded(link.now) or link.bus,
            "-" if link.device_max in (None, link.now) else link.device_max.text,
            worded_rate(link.bandwidth),
            "-" if link.numa_node is None else str(link.numa_node),
            ", ".join(link.suits) or "-",
        )


def _worded(rate: Rate | None) -> str:
    if rate is None:
        return ""
    return f"{rate.standard}, {rate.text}" if "PCIe" in rate.standard else rate.standard


def worded_rate(bandwidth: float | None) -> str:
    """Bytes a second in the largest unit that leaves 1 or more, with three digits that count."""
    if bandwidth is None:
        return "-"
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if bandwidth >= size:
            return f"{bandwidth / size:.3g} {unit}"
    return f"{bandwidth:.3g} B/s"


def _slower(links: Iterable[Link]) -> Iterable[str]:
    return _together((link.name, f"{f.cause}: {f.text}") for link in links for f in link.findings)


def _memory(links: Iterable[Link]) -> Iterable[str]:
    for link in links:
        told = link.access
        distances = link.distances or {}
        if link.device_class != "memory" or (told is None and len(distances) < 2):
            continue
        words = []
        if told and told.read_latency:
            words.append(f"{told.read_latency} ns to read, {told.write_latency or '?'} to write")
        if told and told.read_bandwidth:
            rates = worded_rate(told.read_bandwidth), worded_rate(told.write_bandwidth)
            words.append(f"{rates[0]} to read, {rates[1]} to write")
        if len(distances) > 1:
            words.append("distance " + ", ".join(f"{d} to node {n}" for n, d in distances.items()))
        yield f"{link.name}: {'; '.join(words)}"


def _fabrics(links: Iterable[Link]) -> Iterable[str]:
    for link in links:
        for one in link.fabrics:
            speed = f", {worded_rate(one.bandwidth)}" if one.bandwidth else ""
            peers = f", with {', '.join(one.peers)}" if one.peers else ""
            yield f"{link.name}: {one.kind} {one.name}{speed}{peers}"


def _notes(links: Iterable[Link]) -> Iterable[str]:
    return _together((link.name, note) for link in links for note in link.notes)


def _together(told: Iterable[tuple[str, str]]) -> Iterable[str]:
    """What is said of several devices, once, with their names."""
    names: dict[str, list[str]] = {}
    for name, text in told:
        names.setdefault(text, []).append(name)
    return [f"{', '.join(those)}: {text}" for text, those in names.items()]
