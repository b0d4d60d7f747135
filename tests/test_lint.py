# SPDX-License-Identifier: Apache-2.0
"""Even layout and no findings: ruff, mypy --strict, clang-format, clang-tidy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests import ahead
from tests.native import ROOT, run
from tests.needs import needs
from tests.tidy import tidy

pytestmark = pytest.mark.timeout(600)
C_SOURCES = sorted(ROOT.glob("csrc/**/*.c")) + sorted(ROOT.glob("drivers/*/*.c"))


@cache
def files(*patterns: str) -> list[str]:
    """The project's files, committed or not, that match; what git ignores is left out."""
    listing = run("git", "ls-files", "-z", "-co", "--exclude-standard", "--", *patterns)
    return sorted(name for name in listing.split("\0") if name and (ROOT / name).is_file())


def test_ruff_check() -> None:
    """No finding in Python code."""
    run("ruff", "check", "--quiet", "--output-format=concise", ".")


def test_ruff_format() -> None:
    """Python code is laid out by `make format`."""
    run("ruff", "format", "--quiet", "--check", ".")


def test_mypy() -> None:
    """Python code is typed; the strict settings are in pyproject.toml."""
    ahead.result("mypy", lambda: run("mypy"))


def test_clang_format() -> None:
    """C and C++ code is laid out by `make format`."""
    needs("clang-format")
    uneven = [
        name
        for name in files("*.c", "*.h", "*.cc", "*.cpp")
        if run("clang-format", name) != (ROOT / name).read_text(encoding="utf-8")
    ]
    assert uneven == []


@pytest.mark.parametrize("source", C_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_clang_tidy(source: Path) -> None:
    """No finding in a C source; what is asked is in .clang-tidy."""
    ahead.result(f"tidy {source}", lambda: tidy(source))
