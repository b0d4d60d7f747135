# SPDX-License-Identifier: Apache-2.0
"""What the secure link reads in Python, given everything that libFuzzer thinks of.

Its parsers in C and C++ are tests/fuzz/fuzz_*.c and .cc, run by tests/test_c_suites.py.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests/fuzz/corpus/link"
SECONDS = 4


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    """Every reader, for a few seconds (tests/fuzz/link.py)."""
    if importlib.util.find_spec("atheris") is None:
        message = (
            f"atheris has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]} here"
        )
        if os.environ.get("CI"):
            pytest.fail(f"{message}; CI has to have one")
        pytest.skip(message)
    grown = tmp_path / "corpus"
    grown.mkdir()
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=2048"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.link", *options, grown, CORPUS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert " runs in " in done.stderr
