# SPDX-License-Identifier: Apache-2.0
"""C calls against bare system calls, and beside one another: ``calls.c``, ``lanes.c``."""

from __future__ import annotations

import json
import os
from typing import Any

from .program import build, run
from .rounds import Row


def _beside_a_reader() -> list[Row]:
    """A write while another thread reads the same device, and while it reads another one."""
    if (os.cpu_count() or 1) < 2:
        return []
    found: dict[str, float] = json.loads(run(build("lanes.c", "-pthread")))
    apart, together = found["apart_ns"], found["together_ns"]
    name = "C write, its device being read"
    return [Row(name, together, {"another being read": apart}, "", together / apart)]


def rows() -> list[Row]:
    """hal_read and hal_write on a pty (the goal) and on a pipe (for comparison)."""
    found: dict[str, Any] = json.loads(run(build("calls.c")))
    alone = [
        Row(
            f"C {name}, 64 B",
            figures["hal_ns"],
            {"bare": figures["bare_ns"]},
            "<= 1.03" if name.startswith("pty") else "",
            figures["ratio"],
        )
        for name, figures in found.items()
    ]
    return alone + _beside_a_reader()
