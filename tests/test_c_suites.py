# SPDX-License-Identifier: Apache-2.0
"""The C tests in every build: plain, sanitized, on other architectures, and fuzzed.

One item is one ctest test in one build; which there are is known from the files before anything is
built, and checked against ctest's own list.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.native import CONFIGURATIONS, ROOT, built, run
from tests.needs import find

pytestmark = pytest.mark.timeout(1200)  # the first item of a build waits for compiler and tests

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


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Callable[[str], Outcomes]:
    """Give how the tests of a build went that were chosen; they run together, when first asked."""
    chosen: dict[str, list[str]] = {}
    for item in request.session.items:
        if item.path == request.path and item.name.startswith("test_suite["):
            assert isinstance(item, pytest.Function)
            wanted = item.callspec.params
            chosen.setdefault(str(wanted["configuration"]), []).append(str(wanted["suite"]))
    return cache(lambda configuration: _run(built(configuration), chosen[configuration]))


def _run(tree: Path, names: list[str]) -> Outcomes:
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(find("ctest") or "ctest", "--test-dir", tree, "-R", f"^({'|'.join(names)})$"),
            *("--output-junit", report, "--parallel", "2"),
        ],
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


@pytest.mark.parametrize(
    ("configuration", "suite"),
    [(name, suite) for name in CONFIGURATIONS for suite in suites(name)],
)
def test_suite(configuration: str, suite: str, outcomes: Callable[[str], Outcomes]) -> None:
    """The ctest test passes."""
    failure = outcomes(configuration)[suite]
    if failure:
        pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_no_suite_is_forgotten(configuration: str) -> None:
    """What ctest would run is what the items above run."""
    tree: Path = built(configuration)
    listing = json.loads(run("ctest", "--test-dir", tree, "--show-only=json-v1"))
    assert sorted(test["name"] for test in listing["tests"]) == sorted(suites(configuration))
