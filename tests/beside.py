# SPDX-License-Identifier: Apache-2.0
"""Tests that run in a process of their own, beside others on the processor that those leave idle.

It begins when what is done ahead (ahead.py) is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import ahead
from .elsewhere import Elsewhere, Exchange
from .reporter import EXCHANGE

SHOWN = 4000
"""Characters of what it printed, told when it ends early."""


class Beside(Elsewhere):
    """A pytest beside this one; see `Elsewhere`."""

    _process: subprocess.Popen[bytes] | None = None
    _stopped = False

    def begin(self) -> None:
        """Let it run, after all that was begun before."""
        ahead.begin(f"beside {id(self)}", self._run)

    def stop(self) -> None:
        """End it, if it runs or was to."""
        self._stopped = True
        if self._process:
            self._process.kill()

    def _run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            how = "it was stopped" if self._stopped else self._follow(Path(folder))
        self.ended(how)

    def _follow(self, folder: Path) -> str:
        """Run it to its end; how it ended."""
        exchange, output = Exchange(folder, self.items), folder / "output"
        config, files = self.config, dict.fromkeys(str(item.path) for item in self.items)
        # Nicely: those that run meanwhile may have to be prompt.
        command = [
            "nice",
            "-n",
            "5",
            sys.executable,
            "-m",
            "pytest",
            f"--rootdir={config.rootpath}",
        ]
        command += ["-c", str(config.inipath)] if config.inipath else []
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, "-p", "tests.reporter", "-p", "no:cacheprovider", *files],
                cwd=config.rootpath,
                env={**os.environ, EXCHANGE: str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        with self._process:
            while self._process.poll() is None:
                time.sleep(0.05)
                for line in exchange.lines():
                    self.take(line)
        for line in exchange.lines():
            self.take(line)
        text = output.read_text(errors="replace")[-SHOWN:]
        return f"pytest ended with status {self._process.returncode}\n{text}"
