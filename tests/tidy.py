# SPDX-License-Identifier: Apache-2.0
"""clang-tidy on one C source, unless it found nothing in the very same text before.

The analyser takes two to five seconds a file. What it said depends on its version, its settings and
on what the preprocessor makes of the file, comments and macros included; a run without findings is
remembered under a hash of these, in ``${XDG_CACHE_HOME:-~/.cache}/open-autoglm-hal/tidy``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import time
from functools import cache
from pathlib import Path

from tests.native import ROOT, built, run
from tests.needs import find, needs

KEPT = 14 * 86400
"""Seconds for which a result that nobody asks for is remembered."""


def tidy(source: Path) -> None:
    """Find nothing in a source, compiled as the plain build does; else the test fails."""
    needs("clang-tidy")
    clean = _folder() / _key(source)
    if clean.exists():
        clean.touch()
        return
    run("nice", find("clang-tidy") or "clang-tidy", "--quiet", "-p", built("plain"), source)
    clean.touch()


@cache
def _folder() -> Path:
    """Where results are remembered, without those of long ago."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "open-autoglm-hal/tidy"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - KEPT:
            old.unlink(missing_ok=True)
    return folder


def _key(source: Path) -> str:
    """A hash of all that the result depends on."""
    words = [*_options(source), "-E", "-P", "-CC", "-dD", str(source)]
    text = subprocess.run(words, cwd=built("plain"), capture_output=True, check=True).stdout
    return hashlib.sha256(_settings() + text.replace(os.fsencode(ROOT), b"")).hexdigest()


@cache
def _settings() -> bytes:
    return run("clang-tidy", "--version").encode() + (ROOT / ".clang-tidy").read_bytes()


@cache
def _commands() -> dict[str, str]:
    listing = json.loads((built("plain") / "compile_commands.json").read_text(encoding="utf-8"))
    return {entry["file"]: entry["command"] for entry in listing}


def _options(source: Path) -> list[str]:
    """The compiler and the options by which the plain build compiles a source."""
    words = shlex.split(_commands()[str(source)])
    return words[: words.index("-o")]
