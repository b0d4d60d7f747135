# SPDX-License-Identifier: Apache-2.0
"""Sizes and start-up times."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hal
from hal._abi import ffi, lib

from .rounds import Row

KIB = 1024
COMMAND = Path(sys.executable).parent / "hal-probe"


def _wall_ms(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def _median_wall(*commands: tuple[str, ...], rounds: int = 21) -> list[float]:
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(rounds):
        for index, command in enumerate(commands):
            taken[index].append(_wall_ms(*command))
    return [statistics.median(times) for times in taken]


def import_row() -> Row:
    """``import hal`` beyond Python and numpy."""
    without, with_hal = _median_wall(
        (sys.executable, "-c", "import numpy"), (sys.executable, "-c", "import numpy, hal")
    )
    beyond = with_hal - without
    return Row("import hal beyond numpy", beyond, {"numpy": without}, "<= 60", beyond, "ms")


def list_row() -> Row:
    """``hal-probe list`` on this machine."""
    (took,) = _median_wall((str(COMMAND), "list"))
    return Row("hal-probe list", took, {}, "<= 250", took, "ms")


def library_row() -> Row:
    """libhal.so.1, stripped."""
    library = Path(hal.driver_dir()).parents[1] / "libhal.so.1"
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, str(library)], check=True)
        size = Path(stripped.name).stat().st_size / KIB
    return Row("libhal.so.1 stripped", size, {}, "<= 100", size, "KiB")


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4


def device_row() -> Row:
    """Resident memory an open device takes, by the process's own size: C side only."""
    count = 400
    uri = b"loopback:"
    handles = [lib.hal_open(uri, 0) for _ in range(count)]
    for handle in handles:
        lib.hal_close(handle)
    before = _resident()
    handles = [lib.hal_open(uri, 0) for _ in range(4 * count)]
    if min(handles) < 0:
        raise OSError(str(ffi.string(lib.hal_last_error())))
    each = (_resident() - before) / (3 * count)  # the first `count` slots were there before
    for handle in handles:
        lib.hal_close(handle)
    return Row("memory an open device", each, {}, "<= 4", each, "KiB")


def rows() -> list[Row]:
    """All rows of this module."""
    return [import_row(), list_row(), library_row(), device_row()]
