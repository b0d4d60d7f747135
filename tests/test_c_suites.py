# SPDX-License-Identifier: Apache-2.0
"""The C tests in every build: plain, sanitized, on other architectures, and fuzzed.

One item is one ctest test in one build; which there are is known from the files before anything is
built, and checked against ctest's own list.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.native import CONFIGURATIONS, ROOT, built, run

pytestmark = pytest.mark.timeout(1200)  # the first item of a build waits for the compiler


def stems(pattern: str) -> list[str]:
    """The names, without suffix, of the files that match."""
    return sorted(path.stem for path in ROOT.glob(pattern))


def suites(configuration: str) -> list[str]:
    """The ctest tests that a build must have."""
    if configuration == "fuzz":
        return sorted(stems("tests/fuzz/fuzz_*.c") + stems("tests/fuzz/fuzz_*.cc"))
    names = stems("tests/c/test_*.cc")
    if configuration not in {"address", "thread"}:
        headers = stems("include/hal/*.h")
        names += [f"header_{noun}_{language}" for noun in headers for language in ("c", "cxx")]
    return names


@pytest.mark.parametrize(
    ("configuration", "suite"),
    [(name, suite) for name in CONFIGURATIONS for suite in suites(name)],
)
def test_suite(configuration: str, suite: str) -> None:
    """The ctest test passes."""
    tree = built(configuration)
    run("ctest", "--test-dir", tree, "-R", f"^{suite}$", "--output-on-failure", "--no-tests=error")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_no_suite_is_forgotten(configuration: str) -> None:
    """What ctest would run is what the items above run."""
    tree: Path = built(configuration)
    listing = json.loads(run("ctest", "--test-dir", tree, "--show-only=json-v1"))
    assert sorted(test["name"] for test in listing["tests"]) == sorted(suites(configuration))
