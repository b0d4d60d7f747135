# SPDX-License-Identifier: Apache-2.0
"""Every check as a test: ``pytest --pyargs hal.conformance.suite --hal-uri sim:uart``."""

from __future__ import annotations

import pytest

from .check import Check, checks
from .run import look, run_check
from .subject import Facts, Subject


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a check."""
    metafunc.parametrize("check", checks(), ids=lambda check: check.name)


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest) -> Subject:
    """What ``--hal-uri`` names."""
    uri = request.config.getoption("--hal-uri")
    if not uri:
        pytest.skip("which device? --hal-uri URI")
    return Subject.of(uri, writes=request.config.getoption("--hal-writes"))


@pytest.fixture(scope="module")
def facts(subject: Subject) -> Facts:
    """What the device is like."""
    return look(subject)


def test_conformance(check: Check, subject: Subject, facts: Facts) -> None:
    """The contract is kept."""
    result = run_check(check, subject, facts)
    if result.outcome == "n/a":
        pytest.skip(result.seen)
    if result.outcome == "fail":
        pytest.fail(f"{result.seen}\ncontract: {result.contract}\nread: {result.where}", False)
