# SPDX-License-Identifier: Apache-2.0
"""A check: a function whose docstring is the contract, why it matters, and where to read of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from .subject import Session

Function = Callable[[Session], str | None]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: As it is listed.
        function: Returns what it saw, raises Broken or NotApplicable.
        contract: What a driver promises.
        why: What goes wrong in programs when it does not keep that.
        where: The header and the names in it.
    """

    name: str
    function: Function
    contract: str
    why: str
    where: str


_MODULES = [
    *("life", "attributes", "errors", "data", "transfers", "memory", "batch"),
    *("waits", "readiness", "threads"),
]

CHECKS: dict[str, Check] = {}
"""Every check, by name, in the order in which they run."""


def check(function: Function) -> Function:
    """Make the function a check. Its docstring has three paragraphs: contract, Why:, See:."""
    paragraphs = inspect.getdoc(function) or ""
    contract, why, where = (" ".join(part.split()) for part in paragraphs.split("\n\n"))
    name = function.__name__
    CHECKS[name] = Check(
        name, function, contract, why.removeprefix("Why: "), where.removeprefix("See: ")
    )
    return function


def checks() -> tuple[Check, ...]:
    """Every check."""
    for module in _MODULES:
        importlib.import_module(f".{module}", __package__)
    return tuple(CHECKS.values())
