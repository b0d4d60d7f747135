# SPDX-License-Identifier: Apache-2.0
"""Compilers: which one makes programs for a target, and libhal.a for it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hal

from ..backend import Availability
from ..errors import CompileError
from ..target import Target

FAST = ("-O3", "-fno-math-errno", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")
"""Loops over real numbers become vectors; infinities and NaN stay what they are."""

_MACHINES = {
    "aarch64": ("-march=armv8-a",),
    "riscv64": ("-march=rv64gc", "-mabi=lp64d"),
}
_VARIANTS = {("riscv64", "v"): ("-march=rv64gcv", "-mabi=lp64d")}
_SECONDS = 900


@dataclass(frozen=True)
class Toolchain:
    """A C compiler for a target.

    Attributes:
        machine: What it compiles for, as ``uname -m`` has it.
        prefix: Of its programs' names: ``riscv64-linux-gnu-``; empty for this machine's own.
        flags: What selects the processor.
    """

    machine: str
    prefix: str
    flags: tuple[str, ...]

    @property
    def compiler(self) -> str:
        """The name of the C compiler."""
        return f"{self.prefix}gcc"

    def missing(self) -> Availability | None:
        """What is missing of it; None when nothing is."""
        if shutil.which(self.compiler):
            return None
        package = f"gcc-{self.prefix.rstrip('-')}" if self.prefix else "gcc"
        libc = {"aarch64": "arm64", "riscv64": "riscv64"}.get(self.machine)
        more = f" libc6-dev-{libc}-cross" if self.prefix else " libc6-dev"
        return Availability(False, f"no {self.compiler} in PATH", f"apt install {package}{more}")

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of its programs: ``gcc``, ``ar``, ``strip``.

        Raises:
            CompileError: It failed; the sentence has its first error.
        """
        _call([f"{self.prefix}{program}", *map(str, arguments)])


def toolchain(target: Target) -> Toolchain | None:
    """The compiler for a target; None when it has no C compiler."""
    here = platform.machine()
    if target.kind == "cpu":
        native = "-mcpu=native" if here == "aarch64" else "-march=native"
        if here.startswith("riscv"):
            native = "-mtune=native"
        return Toolchain(here, "", (f"-march={target.variant}" if target.variant else native,))
    if target.kind not in _MACHINES:
        return None
    flags = _VARIANTS.get((target.kind, target.variant), _MACHINES[target.kind])
    prefix = "" if here == target.kind else f"{target.kind}-linux-gnu-"
    return Toolchain(target.kind, prefix, flags)


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise CompileError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CompileError(f"{command[0]} was not done within {_SECONDS} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines[-1:]
        said = errors[0].strip() if errors else f"exit status {done.returncode}"
        raise CompileError(f"{command[0]}: {said}")


# ---- libhal.a ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Libhal:
    """libhal for static programs.

    Attributes:
        include: The folder of its headers.
        archive: ``libhal.a``, drivers included.
    """

    include: Path
    archive: Path


def libhal(chain: Toolchain) -> Libhal:
    """libhal.a for a target: this machine's own, or made from its source, and kept.

    Raises:
        CompileError: It cannot be made; the sentence says what is missing.
    """
    own = Libhal(
        Path(hal.driver_dir()).parents[2] / "include",
        Path(hal.driver_dir()).parents[1] / "libhal.a",
    )
    if not chain.prefix and own.archive.is_file():
        return own
    try:
        source = hal.source_archive()
    except hal.NotFound as error:
        raise CompileError(str(error)) from error
    digest = hashlib.sha256(source.read_bytes() + chain.prefix.encode()).hexdigest()[:16]
    folder = _cache() / f"libhal-{chain.machine}-{digest}"
    found = Libhal(folder / "source" / "include", folder / "build" / "lib" / "libhal.a")
    with _locked(folder.with_suffix(".lock")):
        if not found.archive.is_file():
            _build(chain, source, folder)
    return found


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "open-autoglm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(chain: Toolchain, source: Path, folder: Path) -> None:
    """Build beside, and move there once it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        (made / "source").mkdir(parents=True)
        cmake = _tool("cmake")
        _call([cmake, "-E", "chdir", f"{made}/source", cmake, "-E", "tar", "xf", str(source)])
        options = ["-DCMAKE_BUILD_TYPE=MinSizeRel", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"]
        if chain.prefix:
            options += ["--toolchain", f"{made}/source/cmake/{chain.prefix.rstrip('-')}.cmake"]
        places = ["-S", f"{made}/source", "-B", f"{made}/build"]
        _call([cmake, "-G", "Ninja", *places, *options])
        _call([cmake, "--build", f"{made}/build", "--target", "hal_static"])
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)


@functools.cache
def _tool(name: str) -> str:
    """CMake or ninja: of this environment, whether or not its folder is in PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if not found:
        raise CompileError(f"no {name}: {sys.executable} -m pip install {name}")
    return found


def builds_libhal() -> Availability | None:
    """What is missing to make libhal.a; None when nothing is."""
    for name in ("cmake", "ninja"):
        scripts = sysconfig.get_path("scripts")
        if not (shutil.which(name, path=scripts) or shutil.which(name)):
            return Availability(False, f"no {name}", "pip install open-autoglm[riscv]")
    return None
