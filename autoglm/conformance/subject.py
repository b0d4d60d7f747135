# SPDX-License-Identifier: Apache-2.0
"""Which back end is tried, for which target, on which device."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from ..backend import Backend
from ..backend import backend as installed
from ..errors import Error


@dataclass(frozen=True)
class Subject:
    """What is tried; plain text, for it goes from process to process.

    Attributes:
        backend: The name of an entry point, or ``module:Class``.
        target: What is compiled for.
        device: Address of the device to run on; empty for the first one that can be used.
        paths: Where modules are found besides, as in ``sys.path``.
    """

    backend: str
    target: str = "cpu"
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
