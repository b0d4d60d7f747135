# SPDX-License-Identifier: Apache-2.0
"""What is being done, shown on standard error while it lasts."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """On a terminal one line that is written over, with the seconds; elsewhere a line a step."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._step = ""
        self._status: Status | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __call__(self, text: str) -> None:
        """Tell what is being done now."""
        if self._status:
            self._status.update(f"{text}  ({time.monotonic() - self._began:.0f} s)")
        elif not self._quiet and not text.startswith("round "):
            print(f"autoglm-compile: {text} ...", file=sys.stderr, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status:
            self._status.stop()
