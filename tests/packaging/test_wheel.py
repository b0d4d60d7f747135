# SPDX-License-Identifier: Apache-2.0
"""What is in a wheel and in an sdist, and what must not be."""

from __future__ import annotations

import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.native import ROOT, run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files of the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files on disk."""
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def stems(pattern: str, source: Path) -> set[str]:
    """The names of the source tree's files that match."""
    return {path.name for path in source.glob(pattern)}


def test_tag(wheel: Path) -> None:
    """The wheel says which interpreter and machine it is for."""
    abi = sysconfig.get_config_var("SOABI").split("-")[1]
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"open_autoglm-0.1.0-cp{abi}-cp{abi}-{machine}.whl"


def test_one_library(names: set[str], unpacked: Path) -> None:
    """One libhal.so.1, and a linker script in place of the symbolic link a wheel cannot hold.

    Beside it the same for static programs, and what it is built from.
    """
    found = sorted(name for name in names if "libhal" in name)
    folder = "hal/_native/lib"
    stems = ("libhal-discover.so", "libhal-discover.so.1", "libhal.a", "libhal.so", "libhal.so.1")
    source = "hal/_native/share/hal/libhal-0.1.0.tar.xz"
    assert found == [*(f"{folder}/{stem}" for stem in stems), source]
    script = unpacked / "hal/_native/lib/libhal.so"
    assert script.read_text(encoding="ascii") == "INPUT(libhal.so.1)\n"


def test_no_file_twice(wheel: Path) -> None:
    """No two files of any size have the same content."""
    seen: dict[int, str] = {}
    for info in zipfile.ZipFile(wheel).infolist():
        if info.file_size > 256:
            assert info.CRC not in seen, f"{info.filename} is {seen[info.CRC]} again"
            seen[info.CRC] = info.filename


def test_native_files(names: set[str], source: Path) -> None:
    """All headers, plug-ins, hal.pc and the CMake package."""
    native = {name.removeprefix("hal/_native/") for name in names if "/_native/" in name}
    headers = {f"include/hal/{name}" for name in stems("include/hal/*.h", source)}
    folders = {path.parent.name for path in source.glob("drivers/*/*.c")}
    drivers = {f"lib/hal/drivers/{name}.so" for name in folders}
    package = {"lib/cmake/hal/halConfig.cmake", "lib/cmake/hal/HalDriver.cmake"}
    assert headers | drivers | package | {"lib/pkgconfig/hal.pc"} <= native
    assert {name for name in native if name.startswith("include/")} == headers
    designs = {f"lib/hal/verilated/{name.stem}.so" for name in source.glob("drivers/*/*.v")}
    assert {name for name in native if name.startswith("lib/hal/")} == drivers | designs


def test_python_files(names: set[str], source: Path) -> None:
    """Every file of hal/, of hal/discovery through its link, and of autoglm/; nothing else."""
    wanted = {
        str(path.relative_to(source))
        for folder in (source / "autoglm", source / "hal", *(source / "hal").glob("*/"))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    native = {name for name in names if name.startswith("hal/_native/") or name.endswith(".so")}
    ours = {name for name in names if name.startswith(("autoglm/", "hal/"))} - native
    assert ours == wanted
    tops = {name.split("/", 1)[0] for name in names}
    assert tops == {"autoglm", "hal", "open_autoglm-0.1.0.dist-info"}


def test_extension_modules(names: set[str]) -> None:
    """The extension modules, beside the package's Python files."""
    modules = {name.split(".")[0] for name in names if name.count("/") == 1 and ".so" in name}
    assert modules == {"autoglm/_numbers", "hal/_core", "hal/_abi", "hal/_link", "hal/_perf"}


def test_runpaths(unpacked: Path) -> None:
    """Libraries are looked for inside the wheel, and in no folder of this machine."""
    modules = dict.fromkeys(("_core", "_abi", "_link", "_perf"), "$ORIGIN/_native/lib")
    wanted = {**modules, "_numbers": "", "libhal": "", "libhal-discover": "$ORIGIN"}
    for path in [*unpacked.rglob("*.so"), *unpacked.rglob("*.so.1")]:
        if path.read_bytes()[:4] != b"\x7fELF":
            continue
        dynamic = run("readelf", "--dynamic", "--wide", path)
        paths = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "PATH" in line]
        expected = wanted.get(path.name.split(".")[0], "$ORIGIN/../..")
        if path.parent.name == "verilated":
            expected = ""
        assert ":".join(paths) == expected, path
        assert str(ROOT) not in dynamic


def test_stripped(unpacked: Path) -> None:
    """No debugging sections, and no path of the building machine, in libhal and the plug-ins."""
    for path in (unpacked / "hal/_native/lib").rglob("*.so*"):
        content = path.read_bytes()
        if content[:4] == b"\x7fELF":
            assert ".debug_info" not in run("readelf", "--sections", "--wide", path)
            assert str(ROOT).encode() not in content


def test_sdist_files(sdist: Path, source: Path) -> None:
    """All that building needs, once; no test, nothing built."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert not [member.name for member in archive if member.issym() or member.islnk()]
    built = [name for name in names if name.endswith((".so", ".o", ".pyc")) or "_native" in name]
    assert built == []
    for pattern in ("csrc/*", "drivers/*/*", "include/hal/*", "bindings/**/*", "cmake/*"):
        files = {path for path in source.glob(pattern) if path.is_file()}
        assert {str(path.relative_to(source)) for path in files} <= names
    assert {"CMakeLists.txt", "LICENSE", "pyproject.toml", "setup.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "build/"))]
