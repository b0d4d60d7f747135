# SPDX-License-Identifier: Apache-2.0
"""The native parts of the package: libhal by CMake, then the extension modules.

libhal, its plug-ins, headers, hal.pc and CMake package become ``hal/_native`` (in place for an
editable install); the extension modules of ``hal`` find ``libhal.so.1`` there by ``$ORIGIN``.
Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cmake
import ninja
import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
HEADERS = sorted(ROOT.glob("include/hal/*.h")) + sorted(ROOT.glob("bindings/*/*.h"))
CFFI = ["bindings/abi.py:ffibuilder", "bindings/perf/build.py:ffibuilder"]
SKIP_NATIVE = "HAL_SKIP_NATIVE" in os.environ  # `make venv`: `make build` comes after it
JOBS = os.environ.get("HAL_BUILD_JOBS", str(min(os.cpu_count() or 1, 8)))


def version() -> str:
    """The version that include/hal/version.h states."""
    text = (ROOT / "include/hal/version.h").read_text(encoding="utf-8")
    return ".".join(
        re.findall(r"^#define HAL_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", text, re.MULTILINE)
    )


def call(*command: str) -> None:
    """Run a build tool; what it printed is shown when it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(
            f"{done.stdout}\nbuild libhal: {shlex.join(command)}: exit status {done.returncode}"
        )


def forget_if_moved(tree: Path) -> None:
    """Remove a build tree that CMake made for a checkout at another place, and would refuse."""
    cache = tree / "CMakeCache.txt"
    if cache.exists() and f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in cache.read_text():
        shutil.rmtree(tree)


def build_native(tree: Path, stage: Path) -> None:
    """Build libhal below ``tree`` and install it, as a wheel needs it, into ``stage``."""
    forget_if_moved(tree)
    program = os.path.join(cmake.CMAKE_BIN_DIR, "cmake")
    call(
        program,
        *("-S", str(ROOT), "-B", str(tree), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={os.path.join(ninja.BIN_DIR, 'ninja')}",
        *("-DCMAKE_INSTALL_LIBDIR=lib", "-DHAL_WHEEL=ON"),
        *shlex.split(os.environ.get("CMAKE_ARGS", "")),
    )
    call(program, "--build", str(tree), "--parallel", JOBS)
    shutil.rmtree(stage, ignore_errors=True)
    call(program, "--install", str(tree), "--prefix", str(stage), "--strip")


def mirror(source: Path, target: Path) -> None:
    """Make ``target`` the same as ``source``.

    A file is replaced by renaming, and only when it differs: programs that run keep the library
    they have mapped, and what is unchanged is not built against again.
    """
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for name in files:
        new, old = source / name, target / name
        if old.is_file() and old.read_bytes() == new.read_bytes():
            continue
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(new, f"{old}.new")
        os.replace(f"{old}.new", old)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()


def newer(obj: str, src: str) -> bool:
    """Whether ``src`` or any header was changed after ``obj`` was compiled."""
    if not os.path.exists(obj):
        return True
    made = os.path.getmtime(obj)
    return any(os.path.getmtime(path) > made for path in [src, __file__, *map(str, HEADERS)])


class BuildExtensions(build_ext):
    """Build libhal first, then the extension modules; those of ``hal`` link it."""

    def run(self) -> None:
        if SKIP_NATIVE:
            return
        package = ROOT / "hal" if self.inplace else Path(self.build_lib, "hal").resolve()
        native = package / "_native"
        tree = ROOT / "build" / f"native-{self.plat_name}"  # build_temp is not kept by pip
        build_native(tree, tree / "stage")
        mirror(tree / "stage", native)
        for extension in self.extensions:
            if not extension.name.startswith("hal."):
                continue
            extension.include_dirs.append("include")
            extension.library_dirs.append(str(native / "lib"))
            extension.extra_link_args.append("-Wl,-rpath,$ORIGIN/_native/lib")
            extension.depends += [__file__, *map(str, HEADERS), str(native / "lib/libhal.so.1")]
            if "hal" not in extension.libraries:
                extension.libraries.append("hal")
        super().run()

    def build_extensions(self) -> None:
        # What the interpreter was linked with names folders of the machine it was built on.
        for linker in ("linker_so", "linker_so_cxx"):
            words = getattr(self.compiler, linker, None) or []
            setattr(self.compiler, linker, [w for w in words if not w.startswith("-Wl,-rpath")])
        super().build_extensions()


class BuildPython(build_py):
    """Copy the Python files into an empty folder: no module that the tree no longer has."""

    def run(self) -> None:
        if not self.editable_mode:
            for package in ("autoglm", "hal"):
                shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()


def pybind11_headers() -> str:
    """Folder of pybind11's headers: always of this name, so that compiler caches know it again.

    An isolated build has its pybind11 in a new folder each time.
    """
    link = ROOT / "build" / "pybind11"
    link.parent.mkdir(exist_ok=True)
    made = Path(f"{link}.{os.getpid()}")
    made.symlink_to(pybind11.get_include())
    made.replace(link)
    return str(link.relative_to(ROOT))


def pybind11_extension(module: str, include_dirs: Sequence[str] = (), **more: Any) -> Extension:
    """``PACKAGE._NAME`` of the files in ``bindings/NAME``."""
    name = module.partition("._")[2]
    return Pybind11Extension(
        module,
        sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"bindings/{name}/*.cpp")),
        include_pybind11=False,
        include_dirs=[pybind11_headers(), *include_dirs],
        cxx_std=17,
        extra_compile_args=["-O2", "-fno-lto", "-Wall"],
        **more,
    )


def has_openssl() -> bool:
    """Whether the headers of OpenSSL 3.0 are there; CMake asks the same for the remote driver."""
    asked = [os.environ.get("CC", "cc"), "-E", "-include", "openssl/provider.h", "-x", "c"]
    answer = subprocess.run([*asked, os.devnull], capture_output=True, check=False)
    return answer.returncode == 0


def extensions() -> list[Extension]:
    """The extension modules, those of CFFI excepted, which cffi adds by itself."""
    found = [pybind11_extension("hal._core"), pybind11_extension("autoglm._numbers")]
    if has_openssl():
        link = {"include_dirs": ["drivers/hal"], "libraries": ["ssl", "crypto"]}
        found.append(pybind11_extension("hal._link", **link))
    else:
        print("hal-agent is not built: no headers of OpenSSL 3.0: apt install libssl-dev")
    return found


with ParallelCompile("HAL_BUILD_JOBS", default=2, needs_recompile=newer):
    setup(
        version=version(),
        ext_modules=extensions(),
        cffi_modules=[] if SKIP_NATIVE else CFFI,
        cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython},
        zip_safe=False,
    )
