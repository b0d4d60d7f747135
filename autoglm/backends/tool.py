# SPDX-License-Identifier: Apache-2.0
"""A compiler that is a program of its own, or a module run as one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..child import end_with_parent
from ..errors import CompileError

_TAIL = 600  # characters of what a program printed that are told


def run_tool(command: Sequence[str], folder: Path) -> None:
    """Run a program to its end; the caller's own limits of time and memory end it early.

    It ends with the caller, which is the process of one call (`autoglm.child`), too.

    Args:
        command: Program and arguments.
        folder: Where it runs.

    Raises:
        CompileError: It failed; the sentence has what it printed first of an error.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        preexec_fn=end_with_parent,  # a call of libc, and nothing that could wait
    )
    if done.returncode == 0:
        return
    name = Path(command[0]).name
    printed = (done.stderr + done.stdout).decode("utf-8", "replace")
    how = f"ended with status {done.returncode}"
    if done.returncode < 0:
        how = f"was ended by signal {-done.returncode}"
    raise CompileError(f"{name} {how}: {_telling(printed)}")


def _telling(printed: str) -> str:
    """The line that says what is wrong, or the last ones."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line.lower() or line.startswith(("ValueError", "RuntimeError")):
            return line[:_TAIL]
    return " / ".join(lines)[-_TAIL:] or "it printed nothing"
