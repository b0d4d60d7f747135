# SPDX-License-Identifier: Apache-2.0
"""Preparation does its work once, whole or not at all."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import vmlinux
from .apt import Apt, AptError
from .prepare import LabUnavailable, _complete, _digest, _used, prepare

pytestmark = pytest.mark.timeout(900)


def test_second_preparation_finds_everything(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        first = prepare("x86_64")
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")
    capfd.readouterr()
    assert prepare("x86_64") == first
    assert capfd.readouterr().err == ""
    assert first.kernel.read_bytes()[:4] == b"\x7fELF"
    assert (first.modules / "updates/lab_i2c.ko").exists()
    names = subprocess.check_output(["busybox", "cpio", "-t"], input=first.initrd.read_bytes())
    assert {b"init", b"bin/busybox", b"mod/9p.ko"} <= set(names.split())


def test_root_of_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LabUnavailable, match="this machine is riscv64"):
        prepare("x86_64")


def test_interrupted_step_is_not_taken_for_complete(tmp_path: Path) -> None:
    made = tmp_path / "thing"

    def interrupted() -> None:
        with _complete(made) as scratch:
            (scratch / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not made.exists()
    with _complete(made) as scratch:
        (scratch / "whole").touch()
    assert [path.name for path in made.iterdir()] == ["whole"]


def test_digest_sees_names_and_contents(tmp_path: Path) -> None:
    seen = {_digest(tmp_path)}
    for name, text in (("a", "1"), ("a", "2"), ("b", ""), ("c", "2")):
        (tmp_path / name).write_text(text)
        seen.add(_digest(tmp_path))
    assert len(seen) == 5
    assert _digest("ab", "c") != _digest("a", "bc")


def test_only_what_nobody_uses_is_removed(tmp_path: Path) -> None:
    for name, days in (("kit-old", 8), ("kit-recent", 6), ("kit-mine", 30), ("root-old", 8)):
        (tmp_path / name).mkdir()
        age = (tmp_path / name).stat().st_mtime - days * 86400
        os.utime(tmp_path / name, (age, age))
    _used(tmp_path / "kit-mine")
    assert {path.name for path in tmp_path.iterdir()} == {"kit-recent", "kit-mine", "root-old"}


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_kernel_is_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    elf = b"\x7fELF" + bytes(5000)
    payload = pack(elf)
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 100, len(payload))
    path = tmp_path / "vmlinuz"
    path.write_bytes(image + bytes(100) + payload + b"more")
    assert vmlinux.unpack(path) == elf


@pytest.mark.parametrize(
    ("image", "reason"), [(bytes(2000), "not a bzImage"), (b"", "not a bzImage")]
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, image: bytes, reason: str) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(image)
    with pytest.raises(ValueError, match=reason):
        vmlinux.unpack(path)


def test_apt_says_what_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "none.list"
    sources.touch()
    monkeypatch.setenv("HAL_LAB_SOURCES", str(sources))
    apt = Apt(tmp_path / "apt", "amd64")
    with ThreadPoolExecutor() as pool:  # as guests that are prepared at the same time
        for updated in [pool.submit(apt.update) for _ in range(4)]:
            updated.result()
    with pytest.raises(AptError, match=r"linux-image-amd64.*: .*found"):
        apt.dependency("linux-image-amd64", "linux-image-.*")
