# SPDX-License-Identifier: Apache-2.0
"""Running checks in a process of their own: one that crashes or hangs fails, and the others run."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hal.conformance.outcome import Broken, NotApplicable, Result

from ..child import ChildError, Limits, call, report
from ..target import Target
from .check import Check, checks
from .session import Session
from .subject import Subject, no_compile

SECONDS = 180
"""Within which a check ends."""


def run(
    subject: Subject,
    only: Iterable[str] = (),
    progress: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Try a back end.

    Args:
        subject: Which, for which target, on which device.
        only: Names of checks; every one when empty.
        progress: Called with each result as it comes.

    Raises:
        Error: There is no such back end, or no such target.
    """
    subject = subject.resolved()
    subject.make()
    wanted = frozenset(only)
    left = [each.name for each in checks() if not wanted or each.name in wanted]
    known = {each.name: each for each in checks()}
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="autoglm-conformance-") as folder:

        def told(text: str) -> None:
            if not text.startswith("{"):
                return  # a back end's own report
            results.append(Result(**json.loads(text)))
            left.remove(results[-1].check)
            if progress:
                progress(results[-1])

        while left:
            death = _try(subject, folder, left, told)
            if death:
                told(json.dumps(vars(_result(known[left[0]], "fail", death, 0.0))))
    return results


def _try(subject: Subject, folder: str, names: list[str], told: Callable[[str], None]) -> str:
    """Run checks in one process until it ends; what ended it early, or an empty text."""
    try:
        limits = Limits(SECONDS * (len(names) + 1))
        call(_run, subject, folder, list(names), limits=limits, progress=told)
    except ChildError as error:
        return f"it did not end within {SECONDS} s" if "SIGALRM" in str(error) else str(error)
    return ""


def count(results: Sequence[Result]) -> dict[str, int]:
    """How many passed, failed, do not apply."""
    return {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("pass", "fail", "n/a")
    }


def unjudged(subject: Subject, results: Sequence[Result]) -> str:
    """Why nothing that a back end compiles could be judged; empty where it was, or none was asked.

    Args:
        subject: What was tried.
        results: What came of it.
    """
    subject = subject.resolved()
    outcomes = {result.outcome for result in results}
    if "fail" in outcomes or "n/a" not in outcomes:
        return ""
    return no_compile(subject.make(), Target.parse(subject.target))


def _run(subject: Subject, folder: str, names: Sequence[str]) -> None:
    """The child's side: every check that is left, one after another."""
    session = Session(subject, Path(folder))
    known = {each.name: each for each in checks()}
    for name in names:
        signal.alarm(SECONDS)  # nobody handles it: the process ends, even if it hangs in an engine
        result = judge(known[name], session)
        signal.alarm(0)
        report(json.dumps(vars(result)))


def judge(check: Check, session: Session) -> Result:
    """Run one check in this process, which it may end."""
    began = time.monotonic()
    try:
        outcome, seen = "pass", check.function(session) or ""
    except Broken as broken:
        outcome, seen = "fail", str(broken)
    except NotApplicable as reason:
        outcome, seen = "n/a", str(reason)
    except Exception as error:  # noqa: BLE001 - whatever a back end raises where it must not
        outcome, seen = "fail", f"{type(error).__name__}: {error}"
    return _result(check, outcome, seen, time.monotonic() - began)


def _result(check: Check, outcome: str, seen: str, seconds: float) -> Result:
    return Result(check.name, outcome, seen, check.contract, check.where, round(seconds, 3))
