# SPDX-License-Identifier: Apache-2.0
"""Registers from Python beside python-periphery, on memory that stands in for them.

Both map the same file, so an access costs neither of them anything, and what differs is what each
does around it. On a real bus a read takes some hundred nanoseconds more, for both.
"""

from __future__ import annotations

import tempfile
from functools import partial

import periphery

import hal

from .rounds import Contestant, Row, medians

SIZE = 4096
OFFSET = 64
FOLDER = "/dev/shm"


def _row(name: str, found: dict[str, float], goal: str = "") -> Row:
    """``found`` less the empty call; the ratio is theirs to ours."""
    ours, theirs = (found[key] - found["nothing"] for key in ("hal", "periphery"))
    return Row(name, ours, {"periphery": theirs}, goal, theirs / ours)


def rows() -> list[Row]:
    """One register, read, written and changed."""
    with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
        file.truncate(SIZE)
        theirs = periphery.MMIO(0, SIZE, path=file.name)
        with hal.Mmio.open(f"mmio:{file.name}") as ours:
            theirs.write32(OFFSET, 0x12345678)
            assert ours.read32(OFFSET) == 0x12345678  # both reach the same memory

            def change_theirs() -> None:
                theirs.write32(OFFSET, theirs.read32(OFFSET) & ~0xFF | 0x55)

            pairs: dict[str, tuple[Contestant, Contestant, str]] = {
                "32-bit register read": (
                    partial(ours.read32, OFFSET),
                    partial(theirs.read32, OFFSET),
                    ">= 10",
                ),
                "  its method looked up each time": (
                    lambda: ours.read32(OFFSET),
                    lambda: theirs.read32(OFFSET),
                    "",
                ),
                "32-bit register write": (
                    partial(ours.write32, OFFSET, 1),
                    partial(theirs.write32, OFFSET, 1),
                    "",
                ),
                "read-modify-write": (
                    lambda: ours.update(OFFSET, 0xFF, 0x55),
                    change_theirs,
                    "",
                ),
                "64 B at an offset": (
                    lambda: ours.read_at(64, OFFSET),
                    lambda: theirs.read(OFFSET, 64),
                    "",
                ),
            }
            found = [
                _row(
                    name,
                    medians({"hal": mine, "periphery": other, "nothing": lambda: None}, batch=200),
                    goal,
                )
                for name, (mine, other, goal) in pairs.items()
            ]
        theirs.close()
    return found
