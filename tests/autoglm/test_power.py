# SPDX-License-Identifier: Apache-2.0
"""Power: by counters of a machine that is copied, and why not where there are none."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from autoglm.device import Device
from autoglm.power import meter

PROCESSOR = Device(0, "cpu", "a processor", "cpu")


def _package(root: Path, number: int, energy: int, most: int) -> Path:
    folder = root / f"class/powercap/intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / "energy_uj"


def test_rapl_of_two_packages_one_of_which_begins_anew(tmp_path: Path) -> None:
    first = _package(tmp_path, 0, 1_000_000, 10_000_000)
    second = _package(tmp_path, 1, 9_000_000, 10_000_000)
    (tmp_path / "class/powercap/intel-rapl:0:0").mkdir()  # a part of a package, not counted again
    gauge = meter(PROCESSOR, tmp_path)
    begin = time.monotonic()
    gauge.begin()
    first.write_text("3000000\n")
    second.write_text("1000000\n")
    time.sleep(0.05)
    found = gauge.end()
    seconds = time.monotonic() - begin
    assert found.watts is not None and found.source.startswith("RAPL")
    assert 4 / seconds <= found.watts < 4 / 0.05
    assert str(found) == f"{found.watts:.1f} W (RAPL, the whole processor)"


def test_counters_that_are_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _package(tmp_path, 0, 1, 2)
    monkeypatch.setattr("os.access", lambda *_: False)
    gauge = meter(PROCESSOR, tmp_path)
    gauge.begin()
    assert str(gauge.end()) == f"not available: {path} is for root: sudo chmod o+r {path}"


def test_nothing_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hal.devices", lambda *_, **__: [])
    for device, says in (
        (PROCESSOR, "not available: no RAPL (virtual machines have none), and no monitor"),
        (Device(1, "npu", "an NPU", ""), "not available: no monitor of hwmon"),
        (Device(1, "vulkan", "lavapipe", "", details={"type": "cpu"}), "the processor computes it"),
    ):
        gauge = meter(device, tmp_path)
        gauge.begin()
        assert says in str(gauge.end())


def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$3" = --id=2 ] && echo 123.5\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gauge = meter(Device(1, "cuda", "a GPU", "cuda:2", details={"index": 2}), tmp_path)
    gauge.begin()
    time.sleep(0.3)
    assert str(gauge.end()) == "123.5 W (nvidia-smi)"
    assert not [each for each in threading.enumerate() if each.daemon and "_watch" in each.name]
