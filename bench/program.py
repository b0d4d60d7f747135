# SPDX-License-Identifier: Apache-2.0
"""Programs in C that measure: built against the installed package, run, their output read."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def _flags(*options: str) -> list[str]:
    told = subprocess.run(
        [sys.executable, "-m", "hal", *options], check=True, capture_output=True, text=True
    )
    return shlex.split(told.stdout)


def _compiled(source: str, suffix: str, *options: str) -> Path:
    """Compile ``bench/SOURCE``, C or C++, against libhal; what came of it."""
    out = (HERE.parent / "build" / "bench" / source).with_suffix(suffix)
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler = [os.environ.get("CXX", "c++"), "-std=c++17"]
    if source.endswith(".c"):
        compiler = [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE"]
    subprocess.run(
        [
            *(*compiler, "-O2", "-Wall", "-Wextra", "-Werror"),
            *_flags("--cflags"),
            *(str(HERE / source), "-o", str(out)),
            *_flags("--libs"),
            *options,
        ],
        check=True,
    )
    return out


def build(source: str, *libraries: str) -> Path:
    """Compile ``bench/SOURCE`` against libhal; the path of the program."""
    return _compiled(source, "", *libraries)


def library(source: str, *libraries: str) -> Path:
    """The same as a library that can be loaded."""
    return _compiled(source, ".so", "-shared", "-fPIC", "-pthread", *libraries)


def run(program: Path, *arguments: str) -> str:
    """What the program prints."""
    done = subprocess.run(
        [str(program), *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return done.stdout
