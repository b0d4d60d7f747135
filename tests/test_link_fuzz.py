# SPDX-License-Identifier: Apache-2.0
"""What the secure link reads in Python, given everything that libFuzzer thinks of.

Its parsers in C and C++ are tests/fuzz/fuzz_*.c and .cc, run by tests/test_c_suites.py.
"""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.fuzzing import finds_nothing


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    """Every reader, for a few seconds (tests/fuzz/link.py)."""
    finds_nothing("link", tmp_path)
