# SPDX-License-Identifier: Apache-2.0
"""Which back end is tried, for which target, on which device."""

from __future__ import annotations

import contextlib
import importlib
import sys
from dataclasses import dataclass, replace

from ..backend import Availability, Backend
from ..backend import backend as installed
from ..errors import Error
from ..target import KINDS, Target


@dataclass(frozen=True)
class Subject:
    """What is tried; plain text, for it goes from process to process.

    Attributes:
        backend: The name of an entry point, or ``module:Class``.
        target: What is compiled for; empty for the first that it can here, see `resolved`.
        device: Address of the device to run on; empty for the first one that can be used.
        paths: Where modules are found besides, as in ``sys.path``.
    """

    backend: str
    target: str = ""
    device: str = ""
    paths: tuple[str, ...] = ()

    def make(self) -> Backend:
        """The back end.

        Raises:
            Error: There is none of that name, or it is none.
        """
        if ":" not in self.backend:
            return installed(self.backend)
        sys.path[:] = [*dict.fromkeys([*self.paths, *sys.path])]
        module, _, name = self.backend.partition(":")
        try:
            made = getattr(importlib.import_module(module), name)()
        except Exception as error:
            raise Error(f"no back end {self.backend!r}: {error!r}") from error
        if not isinstance(made, Backend):
            raise Error(f"{self.backend!r} is no autoglm.backend.Backend")
        return made

    def resolved(self) -> Subject:
        """With a target that there is.

        Where none is said, it is the first that the back end compiles for here, else the first that
        it serves at all.

        Raises:
            Error: There is no such back end, or no such target.
        """
        if self.target:
            return replace(self, target=str(Target.parse(self.target)))
        served = _served(self.make())
        here = [kind for kind, can in served.items() if can.here]
        return replace(self, target=next(iter([*here, *served, "cpu"])))


def no_compile(made: Backend, target: Target) -> str:
    """Why a back end does not compile for a target here; empty where it does."""
    can = made.can_compile(target)
    if can is not None:
        return "" if can.here else f"it does not compile for {target} here: {can}"
    served = ", ".join(_served(made))
    return f"it does not compile for {target}, but for {served or 'no target from ONNX'}"


def _served(made: Backend) -> dict[str, Availability]:
    """Every kind of target that a back end serves, and what it says of it."""
    told = {}
    for kind in KINDS:
        with contextlib.suppress(Exception):  # the check ``targets`` tells of it
            told[kind] = made.can_compile(Target(kind))
    return {kind: can for kind, can in told.items() if can is not None}
