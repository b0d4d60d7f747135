# SPDX-License-Identifier: Apache-2.0
"""How a check ends: it passes, fails with what was seen, or does not apply, with the reason."""

from __future__ import annotations

from dataclasses import dataclass


class Broken(Exception):
    """The contract is not kept; the text is what was seen."""


class NotApplicable(Exception):
    """The check says nothing of what is tried; the text is why."""


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Attributes:
        check: Its name.
        outcome: "pass", "fail" or "n/a".
        seen: What was seen, or why it does not apply.
        contract: The sentence the check is about.
        where: Where to read more of it.
        seconds: How long it took.
    """

    check: str
    outcome: str
    seen: str
    contract: str = ""
    where: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """The result as plain data."""
        return dict(vars(self))
