# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in: ``--autoglm-backend`` for the suite, and the fixture autoglm_conformance.

Nothing of autoglm is imported before one of them is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

Conform = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("autoglm", "autoglm.conformance.suite")
    group.addoption("--autoglm-backend", metavar="NAME", help="the back end to try")
    group.addoption("--autoglm-target", metavar="TARGET", default="", help="what to compile for")


@pytest.fixture(scope="session")
def autoglm_conformance() -> Conform:
    """A function ``(backend, target="", skip=())`` that runs every check; failures fail it.

    Without a target it is the first that the back end compiles for here. Where it cannot compile
    for it here, the test is skipped with the reason.

    For a back end's own tests, by name or as ``module:Class``:
    ``def test_contract(autoglm_conformance): autoglm_conformance("acme")``. It gives no result; the
    message has every check that fails, with contract and place to read.
    """

    def conform(backend: str, target: str = "", *, skip: tuple[str, ...] = ()) -> None:
        from .check import checks
        from .run import run, unjudged
        from .subject import Subject

        names = {check.name for check in checks()} - set(skip)
        subject = Subject(backend, target, paths=tuple(sys.path)).resolved()
        results = run(subject, names)
        failed = [
            f"{result.check}: {result.seen}\n  contract: {result.contract}\n  read: {result.where}"
            for result in results
            if result.outcome == "fail"
        ]
        if failed:
            pytest.fail(f"{backend} for {subject.target}\n" + "\n".join(failed), pytrace=False)
        if reason := unjudged(subject, results):
            pytest.skip(f"{backend}: {reason}")

    return conform
