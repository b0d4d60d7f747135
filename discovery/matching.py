# SPDX-License-Identifier: Apache-2.0
"""Which drivers fit a device, how well, and why.

A driver states what it fits in a table beside its code. What a row means, and how it is scored, is
said in <hal/match.h>; this module and csrc/discover/match.c do the same.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from .record import Fit, Record
from .sysfs import Node

Traits = Mapping[str, Sequence[str]]
"""What words of match tables are held against: the kind, and the device's texts of that kind."""

OVERRIDE = 100
"""Score of what the configuration file says."""

_ID, _CLASS, _NAMED, _SUBSYSTEM = 60, 40, 20, 10
_LISTED = 9
"""Most that an id loses for the ids before it."""


class Row(NamedTuple):
    """One row of one driver's table, or of the configuration file.

    Attributes:
        driver: The driver.
        fits: Words KIND:GLOB with a space between them, each of which has to fit.
        address: What follows "driver:" in the URI, with {fields}.
        note: What these devices are, for people.
    """

    driver: str
    fits: str
    address: str
    note: str = ""


class Override(NamedTuple):
    """What the configuration file says of some devices.

    Attributes:
        fits: As in a row.
        driver: The driver to take for them.
        address: The form of its address; "": as the driver's own table has it.
        place: File and key, for people.
    """

    fits: str
    driver: str
    address: str
    place: str


def installed() -> list[Row]:
    """The rows of every driver: plug-ins of the search path, and what the program registered.

    Plug-ins are loaded for it, once in a process (under a millisecond); none opens a device.
    """
    from hal import _core  # the floor below

    _core.load_drivers()
    return [Row(name, *row) for name, *_, table in _core.drivers() for row in table]


def candidates(
    traits: Traits,
    fields: Mapping[str, str],
    rows: Iterable[Row],
    overrides: Iterable[Override] = (),
) -> tuple[Fit, ...]:
    """The drivers that fit a device, the best first, each once.

    Args:
        traits: What the device says of itself; see `traits`.
        fields: What {name}, {node}, {bus} ... stand for; an empty one counts as missing.
        rows: The tables of the drivers.
        overrides: What the configuration file says; the first that fits counts.
    """
    rows = list(rows)
    found = list(_fitting(traits, fields, rows))
    override = next((o for o in overrides if score(o.fits, traits)), None)
    if override is not None:
        found += _forced(override, traits, fields, rows)
    found.sort(key=lambda pair: (-pair[0].score, -pair[1], pair[0].driver))
    best: dict[str, Fit] = {}
    for fit, _ in found:
        best.setdefault(fit.driver, fit)
    return tuple(best.values())


def _fitting(
    traits: Traits, fields: Mapping[str, str], rows: Iterable[Row]
) -> Iterator[tuple[Fit, int]]:
    for row in rows:
        points = score(row.fits, traits)
        address = expand(row.address, fields) if points else None
        if address is not None:
            why = sys.intern(f"{row.fits}, {row.note}" if row.note else row.fits)
            yield Fit(row.driver, f"{row.driver}:{address}", points, why), len(row.fits)


def _forced(
    override: Override, traits: Traits, fields: Mapping[str, str], rows: Iterable[Row]
) -> Iterator[tuple[Fit, int]]:
    """The driver that an override names, if there is a way to open the device by it.

    Where the override has no address, that is the one of the driver's first row whose subsystem is
    the device's, whatever ids the row asks for.
    """
    own = [override.address] if override.address else []
    of_driver = [r for r in rows if r.driver == override.driver and not override.address]
    own += [row.address for row in of_driver if _same_subsystem(row.fits, traits)]
    for address in own:
        text = expand(address, fields)
        if text is not None:
            uri = f"{override.driver}:{text}"
            why = f"{override.fits}, says {override.place}"
            yield Fit(override.driver, uri, OVERRIDE, why), len(override.fits)
            return


def _same_subsystem(fits: str, traits: Traits) -> bool:
    words = [word for word in fits.split(" ") if word.startswith("subsystem:")]
    return all(_word(word, traits) for word in words)


def score(fits: str, traits: Traits) -> int:
    """How well a device fits; 0: not at all."""
    words = [_word(word, traits) for word in fits.split(" ")]
    return max(words) + len(words) - 1 if all(words) else 0


def _word(word: str, traits: Traits) -> int:
    kind, _, glob = word.partition(":")
    pattern = _compiled(glob)
    for index, text in enumerate(traits.get(kind, ())):
        if pattern.match(text):
            return _points(kind, glob, index)
    return 0


def _points(kind: str, glob: str, index: int) -> int:
    if kind == "driver":
        return _NAMED
    if kind == "subsystem":
        return _NAMED if "/" in glob else _SUBSYSTEM
    if re.match(r".?[*?[]", glob):
        return _CLASS
    return _ID - min(index, _LISTED) if kind in ("of", "acpi") else _ID


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def expand(address: str, fields: Mapping[str, str]) -> str | None:
    """An address with its {fields} filled in; None when the device lacks one of them."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        text = fields.get(match[1], "")
        missing = missing or not text
        return text.replace("%", "%25").replace("?", "%3F")

    text = re.sub(r"\{([a-z]+)\}", value, address)
    return None if missing else text


# ---- what a device says of itself ----------------------------------------------------------------


def traits(node: Node, subsystem: str) -> dict[str, list[str]]:
    """What match tables are held against, of a device of this machine.

    Ids are those of the nearest hardware that has some: the device itself, or what it is part of.
    """
    own = {"subsystem": [subsystem, f"{subsystem}/{node.name}"]}
    if driver := node.driver:
        own["driver"] = [driver]
    for step in node.line():
        if ids := _ids(step):
            return ids | own
    return own


def fields(node: Node, devnode: str) -> dict[str, str]:
    """What {name}, {node} and {number} stand for."""
    number = re.search(r"\d*$", node.name)
    return {"name": node.name, "node": devnode, "number": number[0] if number else ""}


def _ids(node: Node) -> dict[str, list[str]]:
    """The ids of a piece of hardware, by kind."""
    found: dict[str, list[str]] = {}
    if compatible := _compatible(node):
        found["of"] = compatible
    kind, _, text = (node.properties.get("MODALIAS") or node.attr("modalias")).partition(":")
    if kind == "acpi":
        found["acpi"] = [hid for hid in text.split(":") if hid]
    elif text and kind != "of":
        found[kind] = [text]
    if node.subsystem == "pnp":
        found["acpi"] = node.attr("id").split()
    if node.subsystem == "usb" and node.properties.get("DEVTYPE") == "usb_device":
        found["usb"] = [_usb_modalias(node)]
    return {kind: texts for kind, texts in found.items() if texts}


def _compatible(node: Node) -> list[str]:
    properties = node.properties
    count = properties.get("OF_COMPATIBLE_N", "0")
    numbers = range(int(count) if count.isdecimal() else 0)
    return [text for n in numbers if (text := properties.get(f"OF_COMPATIBLE_{n}", ""))]


_USB = (
    ("v", "idVendor"),
    ("p", "idProduct"),
    ("d", "bcdDevice"),
    ("dc", "bDeviceClass"),
    ("dsc", "bDeviceSubClass"),
    ("dp", "bDeviceProtocol"),
)


def _usb_modalias(node: Node) -> str:
    """As the kernel writes it for interfaces; it gives devices none."""
    return "".join(f"{key}{node.attr(name).upper()}" for key, name in _USB)


# ---- what is announced on the network ------------------------------------------------------------


@lru_cache(maxsize=1)
def _service_rows() -> tuple[Row, ...]:
    """The rows that ask for a service. Read once: thousands may be announced."""
    wanted = ("dnssd:", "ssdp:")
    return tuple(
        row for row in installed() if any(w.startswith(wanted) for w in row.fits.split(" "))
    )


def with_driver(record: Record, kind: str, types: Sequence[str], at: str) -> Record:
    """A record of the network, with the drivers that fit what it calls itself.

    Args:
        record: The record.
        kind: "dnssd" or "ssdp".
        types: The types it is announced by.
        at: Where it is, "host:port": what {at} in a row stands for. {id} is the record's.
    """
    fits = candidates({kind: types}, {"id": record.id, "at": at}, _service_rows())
    if not fits:
        return record
    return replace(record, fits=fits, driver=fits[0].driver, uri=fits[0].uri)
