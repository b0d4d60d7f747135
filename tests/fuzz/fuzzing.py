# SPDX-License-Identifier: Apache-2.0
"""A fuzz target in Python, run for a few seconds by atheris (libFuzzer for Python)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SECONDS = 6


def finds_nothing(target: str, folder: Path) -> None:
    """Fuzz tests/fuzz/TARGET.py, from its corpus on; what it finds grows in an empty folder."""
    if importlib.util.find_spec("atheris") is None:
        message = f"atheris has no wheel for Python {sys.version.split()[0]} here"
        if os.environ.get("CI"):
            pytest.fail(f"{message}; CI has to have one")
        pytest.skip(message)
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=2048"]
    corpus = ROOT / "tests/fuzz/corpus" / target
    done = subprocess.run(
        # timeout(1) forks: else libFuzzer takes this process's peak of memory, which a program
        # keeps through execve(2), for its own.
        ["timeout", "120", sys.executable, "-m", f"tests.fuzz.{target}", *options, folder, corpus],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert " runs in " in done.stderr
