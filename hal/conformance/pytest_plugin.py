# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in: ``--hal-uri`` for hal.conformance.suite, and the fixture hal_conformance.

Nothing of the kit is imported before one of them is used.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

Conform = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("hal", "hal.conformance.suite")
    group.addoption("--hal-uri", metavar="URI", help="the device to run hal.conformance.suite on")
    group.addoption("--hal-writes", action="store_true", help="the checks may write to the device")


@pytest.fixture(scope="session")
def hal_conformance() -> Conform:
    """A function ``(uri, writes=False, skip=())`` that runs every check; failures fail the test.

    For a driver's own tests: ``def test_contract(hal_conformance): hal_conformance("thermo:sim")``.
    It gives no result; the message has every check that fails, with contract and place to read.
    """

    def conform(uri: str, *, writes: bool = False, skip: tuple[str, ...] = ()) -> None:
        from .check import checks
        from .run import run
        from .subject import Subject

        names = frozenset(check.name for check in checks()) - set(skip)
        results = run(Subject.of(uri, writes=writes), names)
        failed = [
            f"{result.check}: {result.seen}\n  contract: {result.contract}\n  read: {result.where}"
            for result in results
            if result.outcome == "fail"
        ]
        if failed:
            pytest.fail(f"{uri}\n" + "\n".join(failed), pytrace=False)

    return conform
