# SPDX-License-Identifier: Apache-2.0
"""libhal-discover from Python, for tests; as a program it compares what C and Python see.

python -m tests.discover_c ROOT ...     prints how the two differ at each root, as JSON
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hal
from hal.discovery import Record, local_inventory

LIBRARY = Path(hal.__file__).parent / "_native/lib/libhal-discover.so.1"

_BEFORE = ("id", "device_class", "name", "vendor", "model", "serial", "driver", "uri", "why")
_AFTER = ("node", "state", "subsystem", "path")


class Discovered(ctypes.Structure):
    """struct hal_discovered."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in _BEFORE),
        ("score", ctypes.c_int),
        *((name, ctypes.c_char_p) for name in _AFTER),
        ("change", ctypes.c_int),
    ]


Visitor = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Discovered), ctypes.c_void_p)


def each(root: str = "/", query: str = "") -> list[dict[str, Any]]:
    """What hal_discover_each_at() shows."""
    library = ctypes.CDLL(str(LIBRARY))
    found: list[dict[str, Any]] = []
    visitor = Visitor(lambda device, _: found.append(_copied(device[0])) or 0)
    result = library.hal_discover_each_at(root.encode(), query.encode(), visitor, None)
    if result:
        raise OSError(-result, f"hal_discover_each_at({root!r}, {query!r})")
    return found


def _copied(device: Discovered) -> dict[str, Any]:
    values = {name: getattr(device, name) for name, *_ in Discovered._fields_}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


_SAME: dict[str, Callable[[Record], Any]] = {
    **{
        name: lambda record, name=name: getattr(record, name)
        for name in ("id", "device_class", "name", "serial", "driver", "uri", *_AFTER)
    },
    "score": lambda record: record.fits[0].score if record.fits else 0,
}
"""What is the same; vendor and model may come from pci.ids and usb.ids in Python."""


def differences(root: str = "/") -> list[str]:
    """How C and Python differ on a machine; empty when they do not."""
    ours, theirs = each(root), list(local_inventory(root))
    found = []
    if [device["path"] for device in ours] != [record.path for record in theirs]:
        c, python = {d["path"] for d in ours}, {r.path for r in theirs}
        found.append(f"only in C: {sorted(c - python)}, only in Python: {sorted(python - c)}")
    records = {(record.device_class, record.path): record for record in theirs}
    for device in ours:
        record = records.get((device["device_class"], device["path"]))
        for name, value in _SAME.items() if record else ():
            if device[name] != value(record):
                found.append(f"{device['path']}: {name}: {device[name]!r}, {value(record)!r}")
    return found


if __name__ == "__main__":
    json.dump({root: [len(each(root)), differences(root)] for root in sys.argv[1:]}, sys.stdout)
