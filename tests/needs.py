# SPDX-License-Identifier: Apache-2.0
"""Programs that tests run. `make test` installs them; a bare pytest skips what it lacks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def needs(*programs: str) -> None:
    """Skip the test when a program is missing; with CI set, fail it."""
    for program in programs:
        if find(program) is None:
            message = f"{program} is not installed (tools/packages-test.txt; make test installs it)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)


def find(program: str) -> str | None:
    """The program's path: of this interpreter's environment before the system's."""
    return shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
