# SPDX-License-Identifier: Apache-2.0
"""hal-probe list: what is on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hal.discovery import CLASSES, Inventory, Record, local_inventory

from . import output
from .outcome import Exit
from .target import usable_drivers

_TELLING = ("size", "lines", "channels", "sensors", "speed", "link")
"""Properties worth a place in a list, with `_worded`."""


def run(
    root: str, classes: Collection[str], *, holders: bool, json: bool, tree: bool = False
) -> Exit:
    """Print the inventory, as a list or as a tree."""
    drivers = usable_drivers()
    inventory = local_inventory(root, drivers=drivers, holders=holders, classes=classes or CLASSES)
    if json:
        output.emit("list", _data(inventory))
    elif tree:
        output.table(("NAME", "CLASS", "URI", "STATE", "WHAT"), _branches(inventory))
    else:
        _print(inventory)
    return Exit.OK


def _data(inventory: Inventory) -> dict[str, object]:
    return {
        "devices": [record.as_dict() for record in inventory],
        "problems": [{"source": p.source, "cause": p.cause} for p in inventory.problems],
        "unseen": dict(inventory.unseen),
    }


def _print(inventory: Inventory) -> None:
    output.table(("NAME", "DRIVER", "URI", "STATE", "WHAT"), _rows(inventory))
    _print_notes(inventory)
    _print_unseen(inventory)
    if any(record.state in _IN_THE_WAY for record in inventory):
        output.say()
        output.say("What is in the way, and what to do: hal-probe explain NAME")


_IN_THE_WAY = ("denied", "no driver", "no node", "busy")


def _print_notes(inventory: Inventory) -> None:
    """What states do not say, once each: who holds it, which right is missing, what failed."""
    names: dict[tuple[str, str], list[str]] = {}
    for record in inventory:
        if record.detail and record.state in ("denied", "no driver", "busy"):
            names.setdefault((record.state, record.detail), []).append(record.name)
    if names:
        output.say()
    for (state, detail), those in names.items():
        output.say(f"{state}: {', '.join(those)}: {detail}")


def _rows(inventory: Inventory) -> Iterable[tuple[str, ...]]:
    device_class = ""
    for record in inventory:
        if record.device_class != device_class:
            device_class = record.device_class
            yield (device_class,)
        driver, uri = record.driver or "-", record.uri or "-"
        yield f"  {record.name}", driver, uri, record.state, what(record)


def _branches(inventory: Inventory) -> Iterable[tuple[str, ...]]:
    """The devices as a tree: below each controller its buses, below each bus its devices."""
    below: dict[str, list[Record]] = {}
    for record in inventory:
        below.setdefault(record.parent, []).append(record)
    return _branch(below, "", "")


def _branch(
    below: Mapping[str, list[Record]], parent: str, indent: str
) -> Iterable[tuple[str, ...]]:
    records = below.get(parent, [])
    for record in records:
        last = record is records[-1]
        knot, rail = ("", "") if not parent else ("`-- ", "    ") if last else ("|-- ", "|   ")
        name, uri = f"{indent}{knot}{record.name}", record.uri or "-"
        yield name, record.device_class, uri, record.state, what(record)
        yield from _branch(below, record.id, indent + rail)


def what(record: Record) -> str:
    """What a device is, in one line; "-" when nothing is known."""
    return ", ".join(filter(None, [*record.names, record.description, *_worded(record)])) or "-"


def _worded(record: Record) -> Iterable[str]:
    for key in _TELLING:
        value = record.properties.get(key)
        if not value:
            continue
        if key == "size":
            yield binary_size(int(value))
        elif key == "speed":
            yield f"{int(value) / 1e6:g} Mbit/s"
        elif key == "link":
            yield f"link {value}"
        else:
            yield f"{value} {key}" if value.isdigit() else value


def binary_size(size: int) -> str:
    """A number of bytes in the largest binary unit (IEC 80000-13) that leaves 1 or more."""
    number, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.4g} {unit}"


def _print_unseen(inventory: Inventory) -> None:
    by_reason: dict[str, list[str]] = {}
    for device_class, reason in inventory.unseen.items():
        by_reason.setdefault(reason, []).append(device_class)
    if by_reason or inventory.problems:
        output.say()
    for reason, classes in by_reason.items():
        output.say(f"No {', '.join(classes)}: {reason}.")
    for problem in inventory.problems:
        output.say(f"Note: {problem}.")
