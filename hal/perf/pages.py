# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of pages, caches and free memory (proc(5), sysfs)."""

from __future__ import annotations

import re
from pathlib import Path

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ")
_HUGE = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")
_THP = Path("/sys/kernel/mm/transparent_hugepage")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def page_size(address: int) -> int:
    """Bytes of the pages that memory is mapped with; 0: not known.

    Transparent huge pages count where they are at least half of what is mapped.
    """
    facts = _facts(address)
    if not facts:
        return 0
    huge = sum(facts.get(name, 0) for name in _HUGE)
    size = huge_size()
    if size and huge and 2 * huge >= facts.get("Rss", 0):
        return size
    return facts.get("KernelPageSize", 0)


def _facts(address: int) -> dict[str, int]:
    """The numbers of /proc/self/smaps for the mapping that has an address, in bytes."""
    facts: dict[str, int] = {}
    inside = False
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as smaps:
            for line in smaps:
                found = _MAPPING.match(line)
                if found:
                    if inside:
                        break
                    inside = int(found[1], 16) <= address < int(found[2], 16)
                elif inside and line.endswith(" kB\n"):
                    name, value, _ = line.split()
                    facts[name.rstrip(":")] = int(value) << 10
    except OSError:  # a kernel without it: nothing is known
        return {}
    return facts


def huge_size() -> int:
    """Bytes of a transparent huge page; 0: the kernel has none."""
    return _number(_THP / "hpage_pmd_size")


def huge_setting() -> str:
    """What is set: "always", "madvise" or "never"; "": the kernel has no such pages."""
    try:
        found = re.search(r"\[(\w+)\]", (_THP / "enabled").read_text(encoding="ascii"))
    except OSError:
        return ""
    return found[1] if found else ""


def last_level_cache() -> int:
    """Bytes of the largest cache of the first processor; 0: not known."""
    sizes = [0]
    for folder in _CACHES.glob("index*"):
        try:
            text = (folder / "size").read_text(encoding="ascii")
        except OSError:
            continue
        found = re.fullmatch(r"(\d+)([KM]?)\n", text)
        if found:
            sizes.append(int(found[1]) << {"": 0, "K": 10, "M": 20}[found[2]])
    return max(sizes)


def available() -> int:
    """Bytes that may be taken without swapping; 0: not known."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
