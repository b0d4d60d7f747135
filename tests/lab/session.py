# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of tests/lab/guest in one guest and hands their reports to the host's pytest.

The host collects these tests like any other, so paths, ``-k`` and node ids select among them.  When
they are to run, one guest is booted, pytest runs the selected ones in it, and each report is
written to the exchange folder as soon as it is made; the host passes it on as if the test had run
here.  The boot begins when the host's run begins, beside its other tests.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .guest.limit import limit_of
from .prepare import LabUnavailable, prepare
from .service import Service
from .vm import EmulatorDied, Guest, GuestDied

FOLDER = Path(__file__).resolve().parent / "guest"
BOOT = 180.0
"""Seconds until the first report: boot, set-up, pytest's own start."""
GRACE = 15.0
"""Seconds beyond a test's limit, which the guest keeps itself, until the guest is given up."""


class LabSession:
    """One guest, and the reports of the tests that run in it."""

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item]) -> None:
        """Choose what will run; nothing starts yet."""
        self._config = config
        self._items = items
        self._exchange: Path | None = None
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._guest: Guest | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.unavailable = ""
        """Why there is no lab on this machine."""
        self._end = ""
        """How the guest ended, once it has."""

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

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for a test's end and give its reports.

        A test for which there is no lab is skipped with the reason, or fails where ``CI`` is set;
        one that the guest did not live to finish fails with the end of its console.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._finished(item.nodeid) or bool(self._end))
            data = list(self._reports.get(item.nodeid, ()))
        revive = self._config.hook.pytest_report_from_serializable
        reports = [revive(config=self._config, data=one) for one in data]
        if not self._finished(item.nodeid):
            reports.append(self._substitute(item))
        return reports

    def _finished(self, nodeid: str) -> bool:
        return any(report["when"] == "teardown" for report in self._reports.get(nodeid, ()))

    def _unfinished(self) -> pytest.Item:
        """Give the first test that has not ended: the one that runs, or ended the guest."""
        return next(item for item in self._items if not self._finished(item.nodeid))

    def _substitute(self, item: pytest.Item) -> pytest.TestReport:
        """Give the report of a test that was not run to its end."""
        path, line, _ = item.location
        if self.unavailable and not os.environ.get("CI"):
            text = (path, (line or 0) + 1, f"Skipped: {self.unavailable}")
            return pytest.TestReport(item.nodeid, item.location, {}, "skipped", text, "setup")
        reason = self.unavailable or self._end
        if not self.unavailable and item.nodeid != self._unfinished().nodeid:
            reason = f"not run: the guest ended in {self._unfinished().nodeid}"
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, "call")

    def _run(self) -> None:
        end = "the host stopped it"
        try:
            try:
                end = self._boot(self._items)
            except EmulatorDied as died:
                end = self._boot(self._left_by(died))
        except LabUnavailable as error:
            self.unavailable = f"no lab: {error}"
            end = self.unavailable
        except (GuestDied, OSError, ValueError) as error:
            end = str(error)
        finally:
            with self._changed:
                self._end = end
                self._changed.notify_all()

    def _left_by(self, died: EmulatorDied) -> list[pytest.Item]:
        """Give what another boot has to run, once: that QEMU crashed says nothing of a test."""
        left = [item for item in self._items if not self._finished(item.nodeid)]
        first, *_ = str(died).splitlines()
        told = f"{first} in {left[0].nodeid}: it and all behind it run in another boot"
        self._config.issue_config_time_warning(pytest.PytestWarning(told), stacklevel=2)
        self._reports.pop(left[0].nodeid, None)
        return left

    def _boot(self, items: Sequence[pytest.Item]) -> str:
        """Run tests in a guest, from its start to its end, and say how it ended."""
        kit = prepare("x86_64")
        with Guest(kit) as guest:
            self._guest = guest
            if self._stopped:
                return "the host stopped it"
            selected = guest.exchange / "selected.json"
            selected.write_text(json.dumps([item.nodeid for item in items]))
            guest.start(self._command(items), self._environment())
            service = Service(guest)
            self._collect(guest)
            service.join()
            result = guest.wait(timeout=10)
            return f"pytest ended with status {result.status}\n{guest.tail()}"

    def _command(self, items: Sequence[pytest.Item]) -> list[str]:
        files = dict.fromkeys(str(item.path) for item in items)
        mode = self._config.getoption("importmode", "prepend")
        plugins = ["cacheprovider", "junitxml", "pastebin", "doctest", "stepwise", "unittest"]
        return [
            *(sys.executable, "-m", "pytest", "-c", str(FOLDER / "guest.ini")),
            *(f"--rootdir={self._config.rootpath}", f"--import-mode={mode}"),
            *(word for name in plugins for word in ("-p", f"no:{name}")),
            *files,
        ]

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name.startswith("HAL_")}
        return {
            **ours,
            "HAL_LAB_EXCHANGE": "/run/lab",
            "PYTHONPATH": str(self._config.rootpath),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def _collect(self, guest: Guest) -> None:
        """Take in reports until the guest ends, or has been silent for too long."""
        path, offset, end = guest.exchange / "reports.jsonl", 0, time.monotonic() + BOOT
        while guest.running():
            time.sleep(0.05)
            if time.monotonic() > end:
                guest.stop()
                raise GuestDied(f"the guest hangs\n{guest.tail()}")
            lines, offset = _whole_lines(path, offset)
            for line in lines:
                self._take(json.loads(line))
            left = [item for item in self._items if not self._finished(item.nodeid)]
            if lines:
                end = time.monotonic() + GRACE + (limit_of(left[0]) if left else 0)
        for line in _whole_lines(path, offset)[0]:
            self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        if isinstance(report["longrepr"], list):  # of a skip: JSON has no tuples
            report["longrepr"] = tuple(report["longrepr"])
        with self._changed:
            self._reports.setdefault(report["nodeid"], []).append(report)
            self._changed.notify_all()


def _whole_lines(path: Path, offset: int) -> tuple[list[str], int]:
    """Give a growing file's complete lines beyond an offset, and the offset after them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode().splitlines(), offset + len(whole)
