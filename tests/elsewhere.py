# SPDX-License-Identifier: Apache-2.0
"""Tests that another pytest runs, beside this one, and their reports.

They are collected here like any other, so paths, ``-k`` and node ids select among them. When their
turn comes, each report is passed on as if the test had run here. The other pytest has `reporter` as
a plug-in; a folder that both see is between them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .reporter import REPORTS, SELECTED


class Elsewhere:
    """Tests, and what is known of them.

    Args:
        config: Of this pytest.
        items: The tests, in the order in which they run.

    Attributes:
        where: What they run in, as failures call it.
    """

    where = "the other pytest"

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item]) -> None:
        self.config = config
        self.items = items
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._end = ""

    def pass_on(self, item: pytest.Item) -> None:
        """Wait for a test's end, and report it here."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self.reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for a test's end and give its reports; one that was not run to its end fails."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished(item.nodeid) or bool(self._end))
            data = list(self._reports.get(item.nodeid, ()))
        revive = self.config.hook.pytest_report_from_serializable
        reports = [revive(config=self.config, data=one) for one in data]
        if not self._finished(item.nodeid):
            reports.append(self.substitute(item))
        return reports

    def substitute(self, item: pytest.Item) -> pytest.TestReport:
        """The report of a test that was not run to its end: the first of them shows why."""
        first = self.left()[0].nodeid
        reason = self._end
        if item.nodeid != first:
            reason = f"not run: {self.where} ended in {first}"
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, "call")

    def left(self) -> list[pytest.Item]:
        """The tests that have not ended: the first is the one that runs, or ended the others."""
        return [item for item in self.items if not self._finished(item.nodeid)]

    def ended(self, how: str) -> None:
        """Nothing more will come."""
        with self._changed:
            self._end = how
            self._changed.notify_all()

    def forget(self, item: pytest.Item) -> None:
        """It runs again, from its beginning."""
        self._reports.pop(item.nodeid, None)

    def _finished(self, nodeid: str) -> bool:
        return any(report["when"] == "teardown" for report in self._reports.get(nodeid, ()))

    def take(self, line: str) -> None:
        """Take in a report as `reporter` wrote it."""
        report = json.loads(line)
        if isinstance(report["longrepr"], list):  # of a skip: JSON has no tuples
            report["longrepr"] = tuple(report["longrepr"])
        with self._changed:
            self._reports.setdefault(report["nodeid"], []).append(report)
            self._changed.notify_all()


class Exchange:
    """The folder between two pytests, as the one has it that waits.

    Args:
        folder: An empty one.
        items: What the other is to run.
    """

    def __init__(self, folder: Path, items: Sequence[pytest.Item]) -> None:
        (folder / SELECTED).write_text(json.dumps([item.nodeid for item in items]))
        self._reports = folder / REPORTS
        self._offset = 0

    def lines(self) -> list[str]:
        """The reports that have come since the last call."""
        if not self._reports.exists():
            return []
        with self._reports.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()
