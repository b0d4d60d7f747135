# SPDX-License-Identifier: Apache-2.0
"""C calls against bare system calls: builds and runs ``calls.c``."""

from __future__ import annotations

import json
from typing import Any

from .program import build, run
from .rounds import Row


def rows() -> list[Row]:
    """hal_read and hal_write on a pty (the goal) and on a pipe (for comparison)."""
    found: dict[str, Any] = json.loads(run(build("calls.c")))
    return [
        Row(
            f"C {name}, 64 B",
            figures["hal_ns"],
            {"bare": figures["bare_ns"]},
            "<= 1.03" if name.startswith("pty") else "",
            figures["ratio"],
        )
        for name, figures in found.items()
    ]
