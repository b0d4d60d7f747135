# SPDX-License-Identifier: Apache-2.0
"""Runs every check, then the given commands, inside the aarch64 guest; writes how each went.

    python3 runner.py COMMANDS RESULTS

COMMANDS is JSON, ``{name: {"command": [...], "environment": {...}}}``; RESULTS becomes
``{name: failure}``, the failure being empty where all went well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import checks  # type: ignore[import-not-found]

LIMIT = 300
"""Seconds that a command may take."""


def call(check: Callable[[], None]) -> str:
    """Run a check; give its traceback if it failed."""
    try:
        check()
    except Exception:  # noqa: BLE001 - the failure is the result
        return traceback.format_exc()
    return ""


def execute(command: list[str], environment: dict[str, str]) -> str:
    """Run a command; give its output if it failed."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    text = done.stdout.decode(errors="replace")
    return f"status {done.returncode}\n{text}" if done.returncode else ""


def main() -> None:
    """Run everything."""
    commands = json.loads(Path(sys.argv[1]).read_text())
    results = {
        name: call(getattr(checks, name)) for name in dir(checks) if name.startswith("check_")
    }
    results |= {name: execute(**one) for name, one in commands.items()}
    Path(sys.argv[2]).write_text(json.dumps(results))


main()
