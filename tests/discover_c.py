# SPDX-License-Identifier: Apache-2.0
"""libhal-discover from Python, for tests; as a program it compares what C and Python see.

python -m tests.discover_c ROOT ...     prints how the two differ at each root, as JSON
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import time
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


_ACPI_I2C = re.compile(r"i2c-.*:\w\w")


def each(root: str = "/", query: str = "") -> list[dict[str, Any]]:
    """What hal_discover_each_at() shows."""
    library = ctypes.CDLL(str(LIBRARY))
    found: list[dict[str, Any]] = []

    def show(device: Any, _: object) -> int:
        found.append(_copied(device[0]))
        return 0

    result = library.hal_discover_each_at(root.encode(), query.encode(), Visitor(show), None)
    if result:
        raise OSError(-result, f"hal_discover_each_at({root!r}, {query!r})")
    return found


class Watch:
    """A struct hal_discovery.

    Args:
        query: Which devices.
    """

    CHANGES = ("same", "added", "changed", "gone")

    def __init__(self, query: str = "") -> None:
        self._library = ctypes.CDLL(str(LIBRARY))
        self._watch = ctypes.c_void_p()
        result = self._library.hal_discover_open(query.encode(), ctypes.byref(self._watch))
        if result:
            raise OSError(-result, f"hal_discover_open({query!r})")

    def next(self, timeout: float) -> dict[str, dict[str, Any]]:
        """The next set by name, `change` as a word; empty when none came."""
        found: dict[str, dict[str, Any]] = {}

        def show(device: Any, _: object) -> int:
            copy = _copied(device[0])
            found[copy["name"]] = copy | {"change": self.CHANGES[copy["change"]]}
            return 0

        until = ctypes.c_int64(time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(timeout * 1e9))
        self._library.hal_discover_next(self._watch, None, Visitor(show), None, until)
        return found

    def close(self) -> None:
        """End it."""
        self._library.hal_discover_close(self._watch)


def _copied(device: Discovered) -> dict[str, Any]:
    values = {name: getattr(device, name) for name, *_ in Discovered._fields_}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


_SAME = ("id", "device_class", "name", "serial", "driver", "uri", *_AFTER)
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
        if record is not None:
            found += _differing(device, record)
    return found


def _differing(device: dict[str, Any], record: Record) -> list[str]:
    values = {name: getattr(record, name) for name in _SAME}
    values["score"] = record.fits[0].score if record.fits else 0
    if _ACPI_I2C.fullmatch(record.name) and record.device_class == "i2c":
        # Only Python reads the firmware's tables, which tell the address.
        values = {name: values[name] for name in ("id", "name", "serial", "subsystem", "path")}
    return [
        f"{record.path}: {name}: {device[name]!r}, {value!r}"
        for name, value in values.items()
        if device[name] != value
    ]


if __name__ == "__main__":
    json.dump({root: [len(each(root)), differences(root)] for root in sys.argv[1:]}, sys.stdout)
