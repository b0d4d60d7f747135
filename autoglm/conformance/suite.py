# SPDX-License-Identifier: Apache-2.0
"""Every check as a test: ``pytest --pyargs autoglm.conformance.suite --autoglm-backend iree``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from hal.conformance.outcome import Result

from .check import Check, checks
from .run import run
from .subject import Subject


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a check."""
    metafunc.parametrize("check", checks(), ids=lambda check: check.name)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Mapping[str, Result]:
    """What came of every check of what ``--autoglm-backend`` names."""
    backend = request.config.getoption("--autoglm-backend")
    if not backend:
        pytest.skip("which back end? --autoglm-backend NAME")
    target = request.config.getoption("--autoglm-target")
    return {each.check: each for each in run(Subject(backend, target, paths=tuple(sys.path)))}


def test_conformance(check: Check, results: Mapping[str, Result]) -> None:
    """The contract is kept."""
    result = results[check.name]
    if result.outcome == "n/a":
        pytest.skip(result.seen)
    if result.outcome == "fail":
        pytest.fail(f"{result.seen}\ncontract: {result.contract}\nread: {result.where}", False)
