# SPDX-License-Identifier: Apache-2.0
"""Cambricon's MLU: what is missing.

MagicMind, the compiler and runtime for these devices, comes from Cambricon alone, with its drivers;
no package index has it. Nothing here pretends to compile without it. Cambricon, or whoever has the
kit, adds a back end of their own for this target, as docs/backends.md says; nothing here changes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import TargetUnavailable
from ..manifest import Program
from ..target import Target

_HOME = "/usr/local/neuware"
"""Where Cambricon's CNToolkit goes when NEUWARE_HOME does not say otherwise."""
_REMEDY = "ask Cambricon for CNToolkit, CNNL and MagicMind, and for a back end; docs/backends.md"


class MluBackend(Backend):
    """Knows the target, and why it cannot be served."""

    name = "mlu"
    extra = "mlu"

    def can_compile(self, target: Target) -> Availability | None:
        """Never; the reason says what of the kit is missing."""
        return _missing() if target.kind == "mlu" else None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Not done.

        Raises:
            TargetUnavailable: Always.
        """
        raise TargetUnavailable(f"compile for {target}: {_missing()}")

    def devices(self) -> Sequence[Device]:
        """None that it could use."""
        return []

    def can_run(self, program: Program, device: Device) -> Availability:
        """Never."""
        return _missing()

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Not done.

        Raises:
            TargetUnavailable: Always.
        """
        raise TargetUnavailable(f"load on {device}: {_missing()}")


def _missing() -> Availability:
    home = os.environ.get("NEUWARE_HOME", _HOME)
    lacks = []
    if not Path(home).is_dir():
        lacks.append(f"Cambricon's CNToolkit ({home} is not there)")
    if find_spec("magicmind") is None:
        lacks.append("its compiler MagicMind (no Python module of that name)")
    if lacks:
        return Availability(False, f"{' and '.join(lacks)} must be installed", _REMEDY)
    return Availability(
        False, "open-autoglm has never been tried with MagicMind, and does not drive it", _REMEDY
    )
