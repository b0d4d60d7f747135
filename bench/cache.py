# SPDX-License-Identifier: Apache-2.0
"""Cache operations beside libpmem and beside the naive form: builds and runs ``cache.c``."""

from __future__ import annotations

import json
from typing import Any

from .program import build, run
from .rounds import Row

ROUNDS = 301
NOT_SLOWER = "<= 1.02"
"""By two per cent libpmem's copy differs from itself, from run to run."""
BESIDE_LIBPMEM = {
    "persist": ("persist", "<= 1.05"),
    "flush": ("flush", "<= 1.05"),
    "copy": ("copy around the caches", NOT_SLOWER),
}


def _size(count: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"


def _beside_libpmem(figures: dict[str, Any]) -> Row:
    what, goal = BESIDE_LIBPMEM[figures["name"]]
    return Row(
        f"{what} {_size(figures['bytes'])}",
        figures["ours_ns"],
        {"libpmem": figures["theirs_ns"]},
        goal,
        figures["ratio"],
    )


def _beside_naive(figures: dict[str, Any]) -> Row:
    """A flush leaves misses to both, so it is told without the reading, too."""
    drops_and_reads = figures["read"] and figures["ours"] == "hal_cxl_sync"
    return Row(
        f"{figures['ours']} {_size(figures['bytes'])}"
        + ("" if figures["read"] else ", not read back"),
        figures["ours_ns"],
        {"a fence a line": figures["theirs_ns"]},
        "" if drops_and_reads else ">= 50",
        1 / figures["ratio"],
    )


def rows() -> list[Row]:
    """Ranges from 64 B to 16 MiB; all but those that say so are read back in the timed part."""
    found: dict[str, Any] = json.loads(run(build("cache.c", "-ldl"), str(ROUNDS)))
    rows = [
        (_beside_naive if figures["name"] == "naive" else _beside_libpmem)(figures)
        for figures in found["results"]
    ]
    if found["libpmem"] is not True:
        rows.append(Row("beside libpmem", 0.0, {}, unit="", note=found["libpmem"]))
    return rows
