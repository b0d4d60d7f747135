# SPDX-License-Identifier: Apache-2.0
"""A plug-in for a pytest that runs tests for another one, which waits for them (elsewhere.py).

It runs those that the other has selected, and hands each report over as soon as it is made, in the
folder that ``TESTS_EXCHANGE`` names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

EXCHANGE = "TESTS_EXCHANGE"
SELECTED, REPORTS = "selected.json", "reports.jsonl"


class Reporter:
    """Writes reports."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._file = path.open("a")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps(data, default=str) + "\n")
        self._file.flush()

    def pytest_unconfigure(self) -> None:
        self._file.close()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config, Path(os.environ[EXCHANGE], REPORTS)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep those tests that were selected."""
    selected = set(json.loads(Path(os.environ[EXCHANGE], SELECTED).read_text()))
    items[:] = [item for item in items if item.nodeid in selected]
