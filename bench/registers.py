# SPDX-License-Identifier: Apache-2.0
"""Registers from Python beside python-periphery, on memory that stands in for them.

Both map the same file, so an access costs neither of them anything, and what differs is what each
does around it. On a real bus a read takes some hundred nanoseconds more, for both. What is timed is
the statement as a program has it in a loop, less the empty loop.
"""

from __future__ import annotations

import tempfile
from functools import partial
from timeit import Timer

import periphery

import hal

from .rounds import Row, medians

SIZE = 4096
FOLDER = "/dev/shm"
BATCH = 1000

STATEMENTS = {
    "32-bit register read": ("mmio.read32(64)", "mmio.read32(64)", ">= 10"),
    "  by a method looked up before": ("read32(64)", "read32(64)", ""),
    "32-bit register write": ("mmio.write32(64, 1)", "mmio.write32(64, 1)", ""),
    "read-modify-write": (
        "mmio.update(64, 0xFF, 0x55)",
        "mmio.write32(64, mmio.read32(64) & ~0xFF | 0x55)",
        "",
    ),
    "64 B at an offset": ("mmio.read_at(64, 64)", "mmio.read(64, 64)", ""),
}
"""By row: the statement with hal, the same with periphery, the goal."""


def _row(name: str, ours: hal.Mmio, theirs: periphery.MMIO) -> Row:
    our_statement, their_statement, goal = STATEMENTS[name]
    timers = {
        "hal": Timer(our_statement, "read32 = mmio.read32", globals={"mmio": ours}),
        "periphery": Timer(their_statement, "read32 = mmio.read32", globals={"mmio": theirs}),
        "nothing": Timer("pass"),
    }
    found = medians({key: partial(timer.timeit, BATCH) for key, timer in timers.items()})
    hal_ns, periphery_ns = ((found[key] - found["nothing"]) / BATCH for key in ("hal", "periphery"))
    return Row(name, hal_ns, {"periphery": periphery_ns}, goal, periphery_ns / hal_ns)


def rows() -> list[Row]:
    """One register, read, written and changed."""
    with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
        file.truncate(SIZE)
        theirs = periphery.MMIO(0, SIZE, path=file.name)
        with hal.Mmio.open(f"mmio:{file.name}") as ours:
            theirs.write32(64, 0x12345678)
            assert ours.read32(64) == 0x12345678  # both reach the same memory
            found = [_row(name, ours, theirs) for name in STATEMENTS]
        theirs.close()
    return found
