# SPDX-License-Identifier: Apache-2.0
"""A check: a function whose docstring is the contract, why it matters, and where to read of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .models import MODELS, Model
from .session import Session

Function = Callable[[Session], str | None]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: As it is listed.
        function: Returns what it saw; raises Broken or NotApplicable.
        contract: What a back end promises.
        why: What goes wrong when it does not keep that.
        where: The class and the method whose documentation says it.
    """

    name: str
    function: Function
    contract: str
    why: str
    where: str


_MODULES = ("declared", "compiling", "values", "calls", "damage")

_CHECKS: dict[str, Check] = {}


def check(function: Function) -> Function:
    """Make the function a check. Its docstring has three paragraphs: contract, Why:, See:."""
    _add(function.__name__, function, inspect.getdoc(function) or "")
    return function


def check_of_models(function: Callable[[Session, Model], str | None]) -> None:
    """Make the function a check for each of the models, called after both."""
    for model in MODELS:
        text = (inspect.getdoc(function) or "").replace("MODEL", model.what)
        _add(f"{function.__name__}_{model.name}", partial(_call, function, model), text)


def _call(
    function: Callable[[Session, Model], str | None], model: Model, session: Session
) -> str | None:
    return function(session, model)


def _add(name: str, function: Function, text: str) -> None:
    contract, why, where = (" ".join(part.split()) for part in text.split("\n\n"))
    _CHECKS[name] = Check(
        name, function, contract, why.removeprefix("Why: "), where.removeprefix("See: ")
    )


def checks() -> tuple[Check, ...]:
    """Every check, in the order in which they run."""
    for module in _MODULES:
        importlib.import_module(f".{module}", __package__)
    return tuple(_CHECKS.values())
