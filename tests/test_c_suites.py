# SPDX-License-Identifier: Apache-2.0
"""The C tests in every build: plain, sanitized, on other architectures, and fuzzed.

One item is one ctest test in one build; which there are is known from the files before anything is
built, and checked against ctest's own list.
"""

from __future__ import annotations

import json

import pytest

from tests.native import CONFIGURATIONS, built, run
from tests.suites import run_suites, suites

pytestmark = pytest.mark.timeout(1200)  # the first item of a build waits for compiler and tests


@pytest.fixture(scope="module")
def chosen(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The tests of each build that are items here: they run together, when the first is asked."""
    names: dict[str, list[str]] = {}
    for item in request.session.items:
        if item.path == request.path and item.name.startswith("test_suite["):
            assert isinstance(item, pytest.Function)
            wanted = item.callspec.params
            names.setdefault(str(wanted["configuration"]), []).append(str(wanted["suite"]))
    return names


@pytest.mark.parametrize(
    ("configuration", "suite"),
    [(name, suite) for name in CONFIGURATIONS for suite in suites(name)],
)
def test_suite(configuration: str, suite: str, chosen: dict[str, list[str]]) -> None:
    """The ctest test passes."""
    failure = run_suites(configuration, chosen[configuration])[suite]
    if failure:
        pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_no_suite_is_forgotten(configuration: str) -> None:
    """What ctest would run is what the items above run."""
    tree = built(configuration)
    listing = json.loads(run("ctest", "--test-dir", tree, "--show-only=json-v1"))
    assert sorted(test["name"] for test in listing["tests"]) == sorted(suites(configuration))
