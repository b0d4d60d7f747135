# SPDX-License-Identifier: Apache-2.0
"""On the host, tests in tests/lab/guest run in a guest (session.py); in the guest, do nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from .session import FOLDER, LabSession

IN_GUEST = os.environ.get("HAL_LAB") == "1"
NEWER = "test_newer.py"
_session = pytest.StashKey[LabSession]()


def _lab_items(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.path.is_relative_to(FOLDER)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests on a newer kernel, which take minutes, run only when they are named."""
    asked = any(NEWER in word for word in config.invocation_params.args)
    return True if collection_path.name == NEWER and not asked else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the lab's tests last, so that the guest works while the host's own tests run."""
    lab = _lab_items(items)
    if not lab or IN_GUEST:
        return
    if config.pluginmanager.hasplugin("xdist"):
        for item in lab:  # one process, so one guest
            item.add_marker(pytest.mark.xdist_group("lab"))
    if config.pluginmanager.hasplugin("timeout"):
        for item in lab:  # its limit is kept in the guest (guest/limit.py)
            item.add_marker(pytest.mark.timeout(0))
    others = [item for item in items if item not in set(lab)]
    items[:] = [*others, *lab]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Boot the guest if any of its tests were selected."""
    config, lab = session.config, _lab_items(session.items)
    if IN_GUEST or not lab or config.option.collectonly:
        return
    config.stash[_session] = LabSession(config, lab)
    if not hasattr(config, "workerinput"):  # one of several processes: wait until it is our turn
        config.stash[_session].start()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Give a lab test's reports in place of running it here."""
    lab = item.config.stash.get(_session, None)
    if lab is None or not item.path.is_relative_to(FOLDER):
        return None
    lab.start()
    lab.pass_on(item)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the guest, whatever happened."""
    if lab := session.config.stash.get(_session, None):
        lab.stop()
