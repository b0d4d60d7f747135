# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of tests/lab/guest in one guest and hands their reports to the host's pytest.

One guest is booted, and pytest runs the selected ones in it (elsewhere.py). The boot begins when
the host's run begins, beside its other tests.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.elsewhere import Elsewhere, Exchange
from tests.reporter import EXCHANGE

from .guest.limit import limit_of
from .prepare import LabUnavailable, prepare
from .service import Service
from .vm import EmulatorDied, Guest, GuestDied

FOLDER = Path(__file__).resolve().parent / "guest"
BOOT = 180.0
"""Seconds until the first report: boot, set-up, pytest's own start."""
GRACE = 15.0
"""Seconds beyond a test's limit, which the guest keeps itself, until the guest is given up."""


class LabSession(Elsewhere):
    """One guest, and the reports of the tests that run in it.

    Attributes:
        unavailable: Why there is no lab on this machine.
    """

    where = "the guest"
    unavailable = ""
    _guest: Guest | None = None
    _thread: threading.Thread | None = None
    _stopped = False

    def start(self) -> None:
        """Boot and run, beside the calling thread; starting twice is once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lab", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the guest, if it runs, and wait until it has."""
        self._stopped = True
        if self._guest:
            self._guest.stop()
        if self._thread:
            self._thread.join()

    def substitute(self, item: pytest.Item) -> pytest.TestReport:
        """The report of a test that was not run to its end.

        One for which there is no lab is skipped with the reason, or fails where ``CI`` is set; one
        that the guest did not live to finish fails with the end of its console.
        """
        if not self.unavailable:
            return super().substitute(item)
        if os.environ.get("CI"):
            return pytest.TestReport(
                item.nodeid, item.location, {}, "failed", self.unavailable, "call"
            )
        path, line, _ = item.location
        text = (path, (line or 0) + 1, f"Skipped: {self.unavailable}")
        return pytest.TestReport(item.nodeid, item.location, {}, "skipped", text, "setup")

    def _run(self) -> None:
        end = "the host stopped it"
        try:
            try:
                end = self._boot(self.items)
            except EmulatorDied as died:
                end = self._boot(self._left_by(died))
        except LabUnavailable as error:
            self.unavailable = f"no lab: {error}"
            end = self.unavailable
        except (GuestDied, OSError, ValueError) as error:
            end = str(error)
        finally:
            self.ended(end)

    def _left_by(self, died: EmulatorDied) -> list[pytest.Item]:
        """Give what another boot has to run, once: that QEMU crashed says nothing of a test."""
        left = self.left()
        first, *_ = str(died).splitlines()
        told = f"{first} in {left[0].nodeid}: it and all behind it run in another boot"
        self.config.issue_config_time_warning(pytest.PytestWarning(told), stacklevel=2)
        self.forget(left[0])
        return left

    def _boot(self, items: Sequence[pytest.Item]) -> str:
        """Run tests in a guest, from its start to its end, and say how it ended."""
        kit = prepare("x86_64")
        with Guest(kit) as guest:
            self._guest = guest
            if self._stopped:
                return "the host stopped it"
            exchange = Exchange(guest.exchange, items)
            guest.start(self._command(items), self._environment())
            service = Service(guest)
            self._collect(guest, exchange)
            service.join()
            result = guest.wait(timeout=10)
            return f"pytest ended with status {result.status}\n{guest.tail()}"

    def _command(self, items: Sequence[pytest.Item]) -> list[str]:
        files = dict.fromkeys(str(item.path) for item in items)
        mode = self.config.getoption("importmode", "prepend")
        plugins = ["cacheprovider", "junitxml", "pastebin", "doctest", "stepwise", "unittest"]
        return [
            *(sys.executable, "-m", "pytest", "-c", str(FOLDER / "guest.ini")),
            *(f"--rootdir={self.config.rootpath}", f"--import-mode={mode}"),
            *("-p", "tests.reporter"),
            *(word for name in plugins for word in ("-p", f"no:{name}")),
            *files,
        ]

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name.startswith("HAL_")}
        return {
            **ours,
            EXCHANGE: "/run/lab",
            "PYTHONPATH": str(self.config.rootpath),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def _collect(self, guest: Guest, exchange: Exchange) -> None:
        """Take in reports until the guest ends, or has been silent for too long."""
        end = time.monotonic() + BOOT
        while guest.running():
            time.sleep(0.05)
            if time.monotonic() > end:
                guest.stop()
                raise GuestDied(f"the guest hangs\n{guest.tail()}")
            lines = exchange.lines()
            for line in lines:
                self.take(line)
            left = self.left()
            if lines:
                end = time.monotonic() + GRACE + (limit_of(left[0]) if left else 0)
        for line in exchange.lines():
            self.take(line)
