# SPDX-License-Identifier: Apache-2.0
"""Builds of the C side, one folder each below build/, made when a test first asks for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from tests import ahead
from tests.needs import find, needs

ROOT = Path(__file__).parent.parent
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Configuration:
    """How to configure a build, and what that needs besides the native compiler."""

    options: tuple[str, ...]
    programs: tuple[str, ...] = ()


def cross(machine: str) -> Configuration:
    """A build by Debian's cross compiler, whose tests user-mode QEMU runs."""
    return Configuration(
        ("-DHAL_BUILD_TESTS=ON", "--toolchain", f"{ROOT}/cmake/{machine}-linux-gnu.cmake"),
        (f"{machine}-linux-gnu-g++", f"qemu-{machine}-static"),
    )


CONFIGURATIONS = {
    "plain": Configuration(("-DHAL_BUILD_TESTS=ON",)),
    "address": Configuration(("-DHAL_BUILD_TESTS=ON", "-DHAL_SANITIZE=address")),
    "thread": Configuration(("-DHAL_BUILD_TESTS=ON", "-DHAL_SANITIZE=thread")),
    "aarch64": cross("aarch64"),
    "riscv64": cross("riscv64"),
    "fuzz": Configuration(
        ("-DHAL_FUZZ=ON", "-DHAL_WERROR=ON", "-DCMAKE_C_COMPILER=clang"), ("clang",)
    ),
}


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] = NOTHING) -> str:
    """Run a program to its end; its output, or a failed test that shows it.

    It gets a copy of the environment: tests change theirs, and execve(2) fails with EFAULT where
    that happens while it is read in another thread.
    """
    words = [str(word) for word in command]
    words[0] = find(words[0]) or words[0]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"exit status {done.returncode}: {' '.join(words)}\n{done.stdout}", False)
    return done.stdout


def configure(name: str) -> Path:
    """Configure the named build; its folder."""
    configuration = CONFIGURATIONS[name]
    needs("cmake", "ninja", *configuration.programs)
    tree = ROOT / "build" / name
    ninja = f"-DCMAKE_MAKE_PROGRAM={find('ninja')}"
    run("cmake", "-G", "Ninja", ninja, "-S", ROOT, "-B", tree, *configuration.options)
    return tree


def _build(name: str) -> Path:
    tree = configure(name)
    # Others may be at work that must be prompt.
    run(
        "nice",
        find("cmake") or "cmake",
        "--build",
        tree,
        "--parallel",
        str(min(os.cpu_count() or 1, 8)),
    )
    return tree


def built(name: str) -> Path:
    """Build the named configuration, once in a test run; its folder."""
    return ahead.result(f"build {name}", lambda: _build(name))


def build_ahead(name: str) -> None:
    """Begin to build the named configuration, beside the tests."""
    ahead.begin(f"build {name}", lambda: _build(name))
