# SPDX-License-Identifier: Apache-2.0
"""hal._abi, the raw C ABI; and what importing the package brings along."""

from __future__ import annotations

import ast
import errno
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hal
from hal import _core
from hal._abi import ffi, lib

PACKAGE = Path(hal.__file__).parent
FOLDER = PACKAGE / "_native" / "include" / "hal"
HEADERS = sorted(set(FOLDER.glob("*.h")) - {FOLDER / "discover.h"})  # of another library


def code(header: Path) -> str:
    """A header without its comments."""
    return re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_every_function_of_the_headers_is_there(header: Path) -> None:
    for name in re.findall(r"^HAL_API[^;]*?\b(hal_\w+)\(", code(header), re.MULTILINE):
        assert hasattr(lib, name), name


def test_the_headers_were_found() -> None:
    assert {"device.h", "driver.h", "hal.h", "registry.h"} <= {path.name for path in HEADERS}


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_every_plain_constant_is_there(header: Path) -> None:
    plain = re.findall(r"^#define (HAL_\w+) (0x[0-9a-f]+u?|\d+)\s*$", code(header), re.MULTILINE)
    for name, value in plain:
        assert getattr(lib, name) == int(value.rstrip("u"), 0)


def test_structures_and_enumerations() -> None:
    assert (lib.HAL_NOWAIT, lib.HAL_FOREVER, lib.HAL_LENGTH_MAX) == (0, 2**63 - 1, 0x7FFFF000)
    assert lib.HAL_TYPE_CHOICE == 5
    assert {name for name, _ in ffi.typeof("struct driver_ops").fields or ()} >= {
        "init",
        "read",
        "write",
        "fini",
        "attributes",
    }


def test_a_device_by_the_raw_abi() -> None:
    handle = lib.hal_open(b"loopback:", lib.HAL_FOREVER)
    assert handle > 0
    try:
        assert lib.hal_write(handle, b"raw\n", 4, lib.HAL_FOREVER) == 4
        vector = ffi.new("struct iovec[2]")
        rooms = [ffi.new("char[2]"), ffi.new("char[2]")]
        for part, room in zip(vector, rooms, strict=True):
            part.iov_base, part.iov_len = room, 2
        assert lib.hal_readv(handle, vector, 2, lib.hal_after_ms(1000)) == 4
        assert b"".join(ffi.buffer(room) for room in rooms) == b"raw\n"
    finally:
        assert lib.hal_close(handle) == 0
    assert lib.hal_read(handle, rooms[0], 1, lib.HAL_NOWAIT) == -errno.EBADF
    assert b"closed" in ffi.string(lib.hal_last_error())
    assert lib.hal_last_errno() == errno.EBADF


def test_both_bindings_share_one_library_and_registry(loopback: hal.Device) -> None:
    mapped = {
        line.split(maxsplit=5)[5]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libhal.so" in line
    }
    assert mapped == {f"{PACKAGE.resolve()}/_native/lib/libhal.so.1\n".strip()}
    loopback.write(b"one registry")
    room = ffi.new("char[32]")
    assert lib.hal_read(loopback.handle, room, 32, lib.HAL_NOWAIT) == 12
    assert ffi.string(room) == b"one registry"


def test_a_device_closed_by_the_raw_abi_is_closed_in_python(loopback: hal.Device) -> None:
    assert lib.hal_close(loopback.handle) == 0
    with pytest.raises(hal.Closed):
        loopback.read()


def test_a_driver_can_be_made_of_bare_callbacks() -> None:
    data = [b"bare"]

    @ffi.callback("int(struct hal_device *)")
    def init(dev: Any) -> int:
        return 0

    @ffi.callback("ssize_t(struct hal_device *, void *, size_t, hal_deadline)")
    def read(dev: Any, buf: Any, size: int, until: int) -> int:
        if not data:
            return 0
        ffi.memmove(buf, data[0], len(data[0]))
        return len(data.pop())

    @ffi.callback("ssize_t(struct hal_device *, const void *, size_t, hal_deadline)")
    def write(dev: Any, buf: Any, size: int, until: int) -> int:
        return size

    ops = ffi.new("struct driver_ops *", {"init": init, "read": read, "write": write})
    register = lib.hal_register_driver_abi
    assert register(b"bare", ops, ffi.sizeof("struct driver_ops"), lib.HAL_ABI_VERSION) == 0
    try:
        with hal.open("bare:") as device:
            assert device.read() == b"bare"
            assert device.read() == b""
            assert device.write(b"xyz") == 3
        wrong = register(b"bare2", ops, ffi.sizeof("struct driver_ops"), lib.HAL_ABI_VERSION + 1)
        assert wrong == -errno.EPROTONOSUPPORT
    finally:
        assert lib.hal_unregister_driver(b"bare") == 0


# ---- what is said about it ----------------------------------------------------------------------


def test_the_stub_names_what_the_fast_module_has() -> None:
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert functions | set(classes) == {name for name in dir(_core) if not name.startswith("_")}
    handle = {
        node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.target)
        for node in classes["Handle"].body
        if isinstance(node, ast.FunctionDef | ast.AnnAssign)
    }
    assert handle - {"__iter__", "__next__"} == {
        name for name in vars(_core.Handle) if not name.startswith("_")
    }


def test_every_method_has_a_docstring_and_a_signature() -> None:
    for name, method in vars(_core.Handle).items():
        if not name.startswith("_"):
            assert method.__doc__, name
        if callable(method) and not name.startswith("_"):
            assert inspect.signature(method).parameters["self"], name
    for name in hal.__all__:
        assert getattr(hal, name).__doc__, name


def test_importing_brings_nothing_heavy() -> None:
    script = """
import sys
before = set(sys.modules)
import hal
heavy = {"asyncio", "cffi", "_cffi_backend", "numpy", "logging", "ctypes", "subprocess",
         "hal.driver", "hal.aio", "hal.discovery", "hal._abi"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_package_runs_with_warnings_as_errors() -> None:
    script = "import hal; d = hal.open('loopback:'); d.write(b'x'); d.read(); d.close(); hal.Driver"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_versions_agree() -> None:
    assert ffi.string(lib.hal_version_string()) == hal.version().encode()
