# SPDX-License-Identifier: Apache-2.0
"""Tests that run in a process of their own count as tests here, whatever becomes of it.

An inner pytest has one file of tests run beside another.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.native import ROOT
from tests.samples import OUTCOMES

CONFTEST = """
import pytest
from tests import ahead
from tests.beside import Beside

beside = []

def pytest_collection_finish(session):
    if len({item.path for item in session.items}) > 1:  # not so in the process beside
        items = [item for item in session.items if item.path.name == "test_away.py"]
        beside.append(Beside(session.config, items))
        beside[0].begin()

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if not beside or item.path.name != "test_away.py":
        return None
    beside[0].pass_on(item)
    return True

def pytest_sessionfinish():
    for each in beside:
        each.stop()
    ahead.stop()
"""

HERE = """
import os

def test_here():
    print("here", os.getpid())
"""

AWAY = f"""
{OUTCOMES}

def test_passes():
    print("away", os.getpid())

def test_not_selected():
    os._exit(9)
"""

DIES = """
def test_dies():
    print("last words", flush=True)
    os._exit(7)

def test_after():
    pass
"""


def inner(folder: Path, away: str, *options: str) -> str:
    """What the inner pytest prints."""
    for name, text in ("conftest", CONFTEST), ("test_away", away), ("test_here", HERE):
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", f"--rootdir={folder}", "-c", "/dev/null", "-rA"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *options, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def test_outcomes_texts_and_selection(tmp_path: Path) -> None:
    text = inner(tmp_path, AWAY, "-k", "not test_not_selected")
    assert "1 failed, 4 passed, 1 skipped, 1 deselected" in text
    assert "said before" in text and "assert (6 * 7) == 41" in text and "for this reason" in text
    pids = [line.split()[1] for line in text.splitlines() if line.startswith(("here ", "away "))]
    assert len(set(pids)) == 2


def test_a_process_that_dies(tmp_path: Path) -> None:
    text = inner(tmp_path, AWAY + DIES, "-k", "test_here or test_passes or test_dies or test_after")
    assert "2 failed, 2 passed" in text
    assert "pytest ended with status 7" in text
    assert "not run: the other pytest ended in test_away.py::test_dies" in text


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """Who stops at the first failure does not wait for the rest."""
    slow = "import time\ndef test_fails(): assert False\ndef test_slow(): time.sleep(3600)\n"
    text = inner(tmp_path, slow, "-x")
    assert "1 failed" in text
    processes = subprocess.run(["ps", "ax"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert str(tmp_path) not in processes
