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


def build(source: str, *libraries: str) -> Path:
    """Compile ``bench/SOURCE`` against libhal; the path of the program."""
    folder = HERE.parent / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / Path(source).stem
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [
            *(compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"),
            *_flags("--cflags"),
            *(str(HERE / source), "-o", str(program)),
            *_flags("--libs"),
            *libraries,
        ],
        check=True,
    )
    return program


def run(program: Path, *arguments: str) -> str:
    """What the program prints."""
    done = subprocess.run(
        [str(program), *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return done.stdout
