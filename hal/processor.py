# SPDX-License-Identifier: Apache-2.0
"""What this machine's processor is: features, cores, caches, memory.

Read from /proc and sysfs, in a millisecond; nothing is opened, nothing is measured. ``hal.cache``
and ``hal.perf`` say how fast it is.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "info"]


@dataclass(frozen=True)
class Processor:
    """One machine's processor.

    Attributes:
        architecture: As `os.uname` has it: "x86_64", "aarch64", "riscv64".
        model: For people; the architecture where nothing tells more.
        features: By the names of /proc/cpuinfo: "avx2", "asimd"; of RISC-V the letters and names of
            the isa line: "v", "zba".
        cores: How many processors this process may run on at once, as sched_getaffinity(2) and the
            control group's cpu.max have it, at least 1.
        caches: Bytes of each cache that the first processor uses: "L1d", "L1i", "L2", "L3".
        memory: Bytes of system memory.
        free: Bytes that may be taken without swapping, as it was looked at.
    """

    architecture: str
    model: str
    features: frozenset[str]
    cores: int
    caches: Mapping[str, int]
    memory: int
    free: int


def info(root: str | os.PathLike[str] = "/") -> Processor:
    """What the processor is, now.

    Args:
        root: Of a machine copied or mounted there; cores are this process's all the same.

    Raises:
        OSError: /proc cannot be read.
    """
    base = Path(root)
    lines = (base / "proc/cpuinfo").read_text("utf-8", "replace")
    meminfo = (base / "proc/meminfo").read_text("ascii", "replace")
    architecture = platform.machine()
    return Processor(
        architecture,
        _first(lines, "model name", "uarch", "Processor", "Model") or architecture,
        _features(lines),
        _cores(base),
        _caches(base / "sys/devices/system/cpu/cpu0/cache"),
        _kilobytes(meminfo, "MemTotal"),
        _kilobytes(meminfo, "MemAvailable"),
    )


def _first(text: str, *keys: str) -> str:
    for key in keys:
        found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    return ""


def _features(text: str) -> frozenset[str]:
    isa = _first(text, "isa")
    if not isa:
        return frozenset(_first(text, "flags", "Features").split())
    letters, *names = isa.removeprefix("rv64").removeprefix("rv32").split("_")
    return frozenset([*letters, *names])


def _cores(base: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (base / "sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):  # no control groups of version 2, or the root's, without a limit
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _caches(folder: Path) -> dict[str, int]:
    kinds = {"Data": "d", "Instruction": "i", "Unified": ""}
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text("ascii").strip() for name in ("level", "type", "size")
            )
            number = re.fullmatch(r"(\d+)([KM]?)", size)
        except OSError:  # the hypervisor tells only some
            continue
        if number:
            scale = {"": 0, "K": 10, "M": 20}[number[2]]
            found[f"L{level}{kinds.get(kind, '')}"] = int(number[1]) << scale
    return found


def _kilobytes(text: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
