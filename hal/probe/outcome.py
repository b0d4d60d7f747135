# SPDX-License-Identifier: Apache-2.0
"""How a command ends: its exit code, and what it says when it could not do its work."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import hal


class Exit(IntEnum):
    """Exit codes. They never change their meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    PERMISSION = 4
    BUSY = 5


class Failure(Exception):
    """What a command reports instead of its result.

    Attributes:
        message: One sentence.
        code: The exit code.
        kind: The kind of failure as one word, as `hal.Error.kind`.
        next: What to type next, or what was meant perhaps.
    """

    def __init__(self, message: str, code: Exit, kind: str, advice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.next = list(advice)

    @classmethod
    def of(cls, error: hal.Error, advice: Sequence[str] = ()) -> Failure:
        """The failure that an error of the library is."""
        return cls(str(error), exit_code(error), error.kind, advice)

    def as_dict(self) -> dict[str, object]:
        """The failure as plain data."""
        return {
            "message": self.message,
            "kind": self.kind,
            "exit": int(self.code),
            "next": self.next,
        }


_CODES = (
    (hal.PermissionDenied, Exit.PERMISSION),
    (hal.Busy, Exit.BUSY),
    (hal.NotFound, Exit.NOT_FOUND),
    (hal.Unplugged, Exit.NOT_FOUND),
    (hal.InvalidArgument, Exit.USAGE),
)


def exit_code(error: hal.Error) -> Exit:
    """The exit code that an error of the library gives."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
