# SPDX-License-Identifier: Apache-2.0
"""Tests in a guest count as tests here, whatever becomes of the guest.

An inner pytest runs a small project whose tests run in a guest like those of tests/lab/guest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.samples import OUTCOMES

from .prepare import LabUnavailable, prepare
from .vm import ROOT

pytestmark = pytest.mark.timeout(900)

CONFTEST = """
from dataclasses import replace
from pathlib import Path
import tests.lab.conftest
import tests.lab.machine
tests.lab.conftest.FOLDER = Path(__file__).parent
x86_64 = tests.lab.machine.x86_64
tests.lab.machine.x86_64 = lambda folder: replace(x86_64(folder), setup=None)  # boots faster
pytest_plugins = ["tests.lab.conftest", "tests.lab.guest.conftest"]
"""

TESTS = f"""
{OUTCOMES}

def test_passes():
    assert os.environ["HAL_LAB"] == "1"

def test_not_selected():
    pass

def test_panics():
    pathlib.Path("/proc/sysrq-trigger").write_text("c")

def test_after():
    pass
"""

Outcomes = dict[str, tuple[str, str]]


def inner(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[Outcomes, str]:
    """Run the inner pytest; give each test's outcome with its text, and everything printed."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_small.py").write_text(TESTS)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    options = [f"--rootdir={folder}", "-c", "/dev/null", str(folder)]
    variables = {k: v for k, v in os.environ.items() if k != "CI"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *options, *arguments],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        child = case.find("*")
        kind = "passed" if child is None else child.tag
        outcomes[case.attrib["name"]] = (kind, "" if child is None else str(child.get("message")))
    return outcomes, done.stdout + done.stderr


def test_outcomes_come_back(tmp_path: Path) -> None:
    try:
        prepare("x86_64")
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")
    outcomes, text = inner(tmp_path, {}, "-k", "not not_selected", "-rs")
    assert {name: kind for name, (kind, _) in outcomes.items()} == {
        "test_passes": "passed",
        "test_fails": "failure",
        "test_is_skipped": "skipped",
        "test_selected[a b]": "passed",
        "test_selected[c::d]": "passed",
        "test_panics": "failure",
        "test_after": "failure",
    }, text
    assert "assert (6 * 7) == 41" in text
    assert "said before" in text
    assert "for this reason" in text
    assert "Kernel panic - not syncing: sysrq triggered crash" in text
    assert outcomes["test_after"][1].startswith("not run: the guest ended in ")
    assert "3 failed, 3 passed, 1 skipped, 1 deselected" in text


@pytest.mark.parametrize(("ci", "kind"), [("", "skipped"), ("true", "failure")])
def test_without_a_lab_the_reason_is_told(tmp_path: Path, ci: str, kind: str) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    outcomes, text = inner(tmp_path, {"PATH": str(empty), "CI": ci}, "-rs")
    assert {result for result, _ in outcomes.values()} == {kind}, text
    assert "not installed: qemu-system-x86_64" in text


def test_guest_tests_named_alone_do_not_run_here(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-k", "led"]
    variables = {k: v for k, v in os.environ.items() if k != "CI"} | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "tests/lab/guest/test_lab.py"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no lab: not installed" in done.stdout, done.stdout
    assert "1 skipped" in done.stdout
