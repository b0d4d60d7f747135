# SPDX-License-Identifier: Apache-2.0
"""The C tests: which there are in each build, and how they went."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import partial
from xml.etree import ElementTree

import pytest

from tests import ahead
from tests.native import ROOT, built
from tests.needs import find

Outcomes = dict[str, str]
"""By the name of a test: what it printed if it failed, else nothing."""


def stems(pattern: str) -> list[str]:
    """The names, without suffix, of the files that match."""
    return sorted(path.stem for path in ROOT.glob(pattern))


def source(name: str) -> str:
    """The text of a C test."""
    return (ROOT / f"tests/c/{name}.cc").read_text(encoding="utf-8")


def suites(configuration: str) -> list[str]:
    """The ctest tests that a build must have."""
    if configuration == "fuzz":
        return sorted(stems("tests/fuzz/fuzz_*.c") + stems("tests/fuzz/fuzz_*.cc"))
    names = stems("tests/c/test_*.cc")
    if configuration == "thread":
        return [name for name in names if "std::thread" in source(name)]
    if configuration != "address":
        headers = stems("include/hal/*.h")
        names += [f"header_{noun}_{language}" for noun in headers for language in ("c", "cxx")]
    return names


def run_suites(configuration: str, names: Sequence[str]) -> Outcomes:
    """Run these tests of a build, together; once in a test run."""
    return ahead.result(f"ctest {configuration}", partial(_run, configuration, names))


def run_suites_ahead(configuration: str, names: Sequence[str]) -> None:
    """Begin to run these tests of a build, beside others."""
    ahead.begin(f"ctest {configuration}", partial(_run, configuration, names))


def _run(configuration: str, names: Sequence[str]) -> Outcomes:
    tree = built(configuration)
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(find("ctest") or "ctest", "--test-dir", tree, "-R", f"^({'|'.join(names)})$"),
            *("--output-junit", report, "--parallel", "2"),
        ],
        env=dict(os.environ),  # as `native.run` does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not report.exists():
        pytest.fail(f"ctest gave no report:\n{done.stdout}", pytrace=False)
    return {
        case.attrib["name"]: _failure(case) for case in ElementTree.parse(report).iter("testcase")
    }


def _failure(case: ElementTree.Element) -> str:
    """What a test printed, with its status; nothing if it passed."""
    if case.attrib["status"] == "run" and case.find("failure") is None:
        return ""
    return f"{case.attrib['status']}\n{case.findtext('system-out')}"
