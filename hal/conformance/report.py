# SPDX-License-Identifier: Apache-2.0
"""What hal-conformance prints: a table and the failures in full, or JSON."""

from __future__ import annotations

from collections.abc import Sequence

from hal.probe import output

from .outcome import Result
from .run import count


def as_json(uri: str, results: Sequence[Result], code: int) -> None:
    """Print the results as JSON."""
    checks = [result.as_dict() for result in results]
    output.emit(
        "conformance",
        {"uri": uri, "passed": code == 0, "exit": code, "counts": count(results), "checks": checks},
    )


def as_table(uri: str, results: Sequence[Result]) -> None:
    """Print the results for people."""
    output.say(uri, "bold")
    output.table((), [(f"  {r.check}", r.outcome, r.seen) for r in results])
    for result in results:
        if result.outcome == "fail":
            output.say()
            output.say(f"{result.check} fails", "bold")
            output.table(
                (),
                [
                    ("  contract", result.contract),
                    ("  seen", result.seen),
                    ("  read", result.where),
                ],
            )
    totals = count(results)
    output.say()
    output.say(f"{totals['pass']} passed, {totals['fail']} failed, {totals['n/a']} not applicable")
