# SPDX-License-Identifier: Apache-2.0
"""libhal as a binary: its ABI, its size, what it exports and what it needs."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from tests.abi.record import BINARIES, FOLDER, compare, describe
from tests.native import ROOT, built, run
from tests.needs import needs

pytestmark = pytest.mark.timeout(600)
x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the recorded ABI is that of x86-64"
)

# What would break old programs or plug-ins: file -> what is there, what is put in its place.
BREAKS = {
    "member inserted": {"include/hal/device.h": ("    size_t len; ", "    int odd; size_t len; ")},
    "operation inserted": {
        "include/hal/driver.h": (
            "    ssize_t (*read)(",
            "    int (*odd)(void);\n    ssize_t (*read)(",
        ),
    },
    "member widened": {"include/hal/attribute.h": ("uint32_t access;", "uint64_t access;")},
    "enumerator moved": {"include/hal/error.h": ("    HAL_BUSY,", "    HAL_ODD, HAL_BUSY,")},
    "argument retyped": {
        "include/hal/deadline.h": ("hal_after_ms(int64_t ms)", "hal_after_ms(int32_t ms)"),
        "csrc/deadline.c": ("hal_after_ms(int64_t ms)", "hal_after_ms(int32_t ms)"),
    },
    "function gone": {"csrc/libhal.map": ("hal_*;", "hal_[!u]*;")},
}


@pytest.fixture(scope="module")
def library() -> Path:
    """libhal with debugging information."""
    return built("plain") / "lib" / "libhal.so.1"


@x86_64
@pytest.mark.parametrize("file", BINARIES, ids=lambda path: path.stem)
def test_abi_is_kept(file: Path, tmp_path: Path) -> None:
    """Programs and plug-ins built for the recorded ABI go on working."""
    needs("abidiff")
    describe(built("plain") / BINARIES[file], tmp_path / "today.abi")
    compare(file, tmp_path / "today.abi")


OPS_END = "};\n\n/* ---- registering"

# What old programs and plug-ins do not notice.
GROWS = {
    "operation added": {
        "include/hal/driver.h": (OPS_END, f"    int (*odd)(void);\n{OPS_END}"),
    },
    "function added": {
        "include/hal/deadline.h": (
            "HAL_API int64_t hal_now(",
            "HAL_API int hal_odd(void);\nHAL_API int64_t hal_now(",
        ),
        "csrc/deadline.c": (
            "int64_t hal_now(",
            "int hal_odd(void)\n{\n    return 0;\n}\n\nint64_t hal_now(",
        ),
    },
}


@x86_64
@pytest.mark.parametrize("name", BREAKS)
def test_abi_guard_sees(name: str, tmp_path: Path) -> None:
    """The guard finds what would break old binaries."""
    changed = describe_changed(BREAKS[name], tmp_path)
    with pytest.raises(pytest.fail.Exception, match=r"summary: .*[1-9]\d* (Removed|Changed)"):
        compare(FOLDER / "libhal-x86_64.abi", changed)


@x86_64
@pytest.mark.parametrize("name", GROWS)
def test_abi_guard_lets_grow(name: str, tmp_path: Path) -> None:
    """The guard has nothing against growth that old binaries do not notice."""
    compare(FOLDER / "libhal-x86_64.abi", describe_changed(GROWS[name], tmp_path))


def describe_changed(changes: dict[str, tuple[str, str]], folder: Path) -> Path:
    """The ABI of a libhal with text of its sources replaced."""
    needs("abidiff")
    for name in ("include", "csrc"):
        shutil.copytree(ROOT / name, folder / name)
    for file, (old, new) in changes.items():
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))
    binary = folder / "libhal.so.1"
    run(
        *("cc", "-std=c11", "-D_GNU_SOURCE", "-g", "-shared", "-fPIC", "-fvisibility=hidden", "-w"),
        *(f"-I{folder}/include", f"-Wl,--version-script={folder}/csrc/libhal.map"),
        *("-Wl,-soname,libhal.so.1", "-o", str(binary)),
        *sorted(folder.glob("csrc/*.c")),
    )
    describe(binary, folder / "changed.abi", folder / "include" / "hal")
    return folder / "changed.abi"


def test_size(library: Path, tmp_path: Path) -> None:
    """Stripped, libhal.so.1 is 100 KiB at most."""
    run("strip", "-o", tmp_path / "stripped", library)
    assert (tmp_path / "stripped").stat().st_size <= 100 * 1024


def test_needs(library: Path) -> None:
    """libhal stands on the C library alone, and is called by its ABI's number."""
    dynamic = run("readelf", "--dynamic", "--wide", library)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    assert {name.split(".")[0] for name in needed} <= {
        "libc",
        "libdl",
        "libpthread",
        "ld-linux-x86-64",
    }
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libhal.so.1"]
    assert not re.search(r"R(UN)?PATH|TEXTREL", dynamic)
    assert "BIND_NOW" in dynamic


def test_exports(library: Path) -> None:
    """Exactly the functions that the headers declare are visible, all of one version."""
    headers = "".join(path.read_text() for path in ROOT.glob("include/hal/*.h"))
    declared = set(re.findall(r"^HAL_API[^;{]*?\b(hal_\w+)\(", headers, re.MULTILINE))
    declared -= {name for name in declared if name.startswith("hal_discover_")}  # another library's
    symbols = run("nm", "--dynamic", "--defined-only", library).splitlines()
    names = {line.split()[-1] for line in symbols} - {"HAL_1@@HAL_1", "HAL_1"}
    assert {name.partition("@@")[2] for name in names} == {"HAL_1"}
    assert {name.partition("@@")[0] for name in names} == declared


@pytest.mark.parametrize("name", sorted({path.parent.name for path in ROOT.glob("drivers/*/*.c")}))
def test_plugin(name: str, library: Path) -> None:
    """A plug-in shows its entry symbol alone, and stands on libhal and the C library.

    The remote driver alone stands on OpenSSL and Jansson besides.
    """
    plugin = library.parent / "hal" / "drivers" / f"{name}.so"
    symbols = run("nm", "--dynamic", "--defined-only", plugin).splitlines()
    assert [line.split()[-1] for line in symbols] == ["hal_plugin"]
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", plugin)))
    more = {"libssl.so.3", "libcrypto.so.3", "libjansson.so.4"} if name == "hal" else set()
    assert needed <= {"libhal.so.1", "libc.so.6", "libm.so.6", *more}


def test_relro(library: Path) -> None:
    """What is constant after loading is write-protected, and no stack is executable."""
    program = run("readelf", "--program-headers", "--wide", library)
    assert "GNU_RELRO" in program
    (stack,) = [line for line in program.splitlines() if "GNU_STACK" in line]
    assert "RWE" not in stack
