# SPDX-License-Identifier: Apache-2.0
"""Tests that run in a process of their own, beside others on the processor that those leave idle.

It begins when what is done ahead (ahead.py) is done.
"""

from __future__ import annotations

import os
import signal
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
SILENCE = 1000.0
"""Seconds without a report until it is given up: more than any test may take."""
GRACE = 15.0
"""Seconds that it has to end in order."""


class Beside(Elsewhere):
    """A pytest beside this one; see `Elsewhere`."""

    _stopped = False

    def begin(self) -> None:
        """Let it run, after all that was begun before."""
        ahead.begin(f"beside {id(self)}", self._run)

    def stop(self) -> None:
        """End it, if it runs or was to."""
        self._stopped = True

    def _run(self) -> None:
        how = "it did not run"
        try:
            with tempfile.TemporaryDirectory() as folder:
                if not self._stopped:
                    how = self._follow(Path(folder))
        finally:
            self.ended(how)

    def _follow(self, folder: Path) -> str:
        """Run it to its end; how it ended."""
        exchange, output = Exchange(folder, self.items), folder / "output"
        with output.open("wb") as file, self._start(folder, file.fileno()) as process:
            self._collect(exchange, process)
        text = output.read_text(errors="replace")[-SHOWN:]
        return f"pytest ended with status {process.returncode}\n{text}"

    def _start(self, folder: Path, output: int) -> subprocess.Popen[bytes]:
        config, files = self.config, dict.fromkeys(str(item.path) for item in self.items)
        # Nicely: those that run meanwhile may have to be prompt.
        command = ["nice", "-n", "5", sys.executable, "-m", "pytest", "-p", "tests.reporter"]
        command += ["-c", str(config.inipath)] if config.inipath else []
        return subprocess.Popen(
            [*command, f"--rootdir={config.rootpath}", "-p", "no:cacheprovider", *files],
            cwd=config.rootpath,
            env={**os.environ, EXCHANGE: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def _collect(self, exchange: Exchange, process: subprocess.Popen[bytes]) -> None:
        """Take in reports until it ends; end it when told to, or when it is silent for too long."""
        end = time.monotonic() + SILENCE
        while process.poll() is None:
            time.sleep(0.05)
            if lines := exchange.lines():
                end = time.monotonic() + SILENCE
            for line in lines:
                self.take(line)
            if self._stopped or time.monotonic() > end:
                _end(process)
        for line in exchange.lines():
            self.take(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """As by Ctrl-C, so that its tests leave nothing running; then by force."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
