# SPDX-License-Identifier: Apache-2.0
"""How many watts a device takes, by what the machine has to measure it; or why nobody can tell.

A processor is measured by RAPL (kernel documentation: power/powercap/powercap.rst), which counts
the energy of each package; others, and processors without it, by a monitor of hwmon whose driver is
the device's own; NVIDIA's by nvidia-smi. What is measured is the whole device, whoever uses it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hal

from .device import Device

INTERVAL = 0.1
"""Seconds between two readings of a monitor that tells power; counters of energy are read twice."""
_MONITORS = {
    "cpu": ("amd_energy", "fam15h_power", "zenpower"),
    "rocm": ("amdgpu",),
    "vulkan": ("amdgpu", "i915", "xe"),
    "opencl": ("amdgpu", "i915", "xe"),
}
"""Names of monitors that belong to a kind of device."""


@dataclass(frozen=True)
class Power:
    """What was measured.

    Attributes:
        watts: The mean; None when nothing can tell.
        source: What told it; or why nothing could, and what to do.
    """

    watts: float | None
    source: str

    def __str__(self) -> str:
        if self.watts is None:
            return f"not available: {self.source}"
        return f"{self.watts:.1f} W ({self.source})"


class Meter(ABC):
    """Measures from `begin` to `end`. One thread uses it."""

    @abstractmethod
    def begin(self) -> None:
        """Begin."""

    @abstractmethod
    def end(self) -> Power:
        """What it was since then."""


def meter(device: Device, root: Path = Path("/sys")) -> Meter:
    """What can measure a device best.

    Args:
        device: It.
        root: Where sysfs is.
    """
    if device.details.get("type") == "cpu" or device.details.get("simulated"):
        return _None("it is no device of its own, the processor computes it")
    if device.kind == "cpu":
        packages = sorted(root.glob("class/powercap/intel-rapl:[0-9]*"))
        packages = [each for each in packages if each.name.count(":") == 1]
        if packages:
            return _rapl(packages)
    if device.kind == "cuda":
        return _Nvidia(device) if shutil.which("nvidia-smi") else _None("there is no nvidia-smi")
    return _hwmon(device)


class _None(Meter):
    """Nothing can tell."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def begin(self) -> None:
        pass

    def end(self) -> Power:
        return Power(None, self._reason)


class _Rapl(Meter):
    """Counters of microjoules, which begin again at a number that is told."""

    def __init__(self, packages: Sequence[Path]) -> None:
        self._packages = packages
        self._ranges = [_number(each / "max_energy_range_uj") for each in packages]

    def begin(self) -> None:
        self._from = self._read()
        self._since = time.monotonic()

    def end(self) -> Power:
        seconds = time.monotonic() - self._since
        spent = [
            now - before if now >= before else now - before + most
            for now, before, most in zip(self._read(), self._from, self._ranges, strict=True)
        ]
        return Power(sum(spent) / 1e6 / seconds, "RAPL, the whole processor")

    def _read(self) -> list[int]:
        return [_number(each / "energy_uj") for each in self._packages]


def _rapl(packages: Sequence[Path]) -> Meter:
    counter = packages[0] / "energy_uj"
    if not os.access(counter, os.R_OK):
        return _None(f"{counter} is for root: sudo chmod o+r {counter}")
    return _Rapl(packages)


def _number(path: Path) -> int:
    return int(path.read_text("ascii"))


class _Hwmon(Meter):
    """A monitor that counts joules, or tells watts, which are then read again and again."""

    def __init__(self, chip: hal.Hwmon, unit: str, name: str) -> None:
        self._chip = chip
        self._unit = unit
        self._name = name
        self._ended = threading.Event()
        self._seen: list[float] = []

    def begin(self) -> None:
        self._ended.clear()
        self._seen = [self._read()]
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> Power:
        seconds = time.monotonic() - self._since
        self._ended.set()
        self._thread.join()
        last = self._read()
        watts = (
            (last - self._seen[0]) / seconds
            if self._unit == "J"
            else statistics.fmean([*self._seen, last])
        )
        self._chip.close()
        return Power(watts, f"hwmon {self._name}")

    def _watch(self) -> None:
        while self._unit == "W" and not self._ended.wait(INTERVAL):
            self._seen.append(self._read())

    def _read(self) -> float:
        sensors = self._chip.sensors()
        return sum(each.value for each in sensors if each.unit == self._unit and each.value)


def _hwmon(device: Device) -> Meter:
    wanted = _MONITORS.get(device.kind, ())
    for record in hal.devices("class=hwmon", network=False):
        name = record.model or record.name
        if name not in wanted or not record.uri:
            continue
        with contextlib.suppress(hal.Error):
            chip = hal.Hwmon.open(record.uri)
            units = {each.unit for each in chip.sensors() if each.value is not None}
            for unit in ("J", "W"):
                if unit in units:
                    return _Hwmon(chip, unit, name)
            chip.close()
    rapl = "no RAPL (virtual machines have none), and " if device.kind == "cpu" else ""
    return _None(f"{rapl}no monitor of hwmon tells its power")


class _Nvidia(Meter):
    """``nvidia-smi``, asked again and again."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ended = threading.Event()
        self._seen: list[float] = []

    def begin(self) -> None:
        self._ended.clear()
        self._seen.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> Power:
        self._ended.set()
        self._thread.join()
        if not self._seen:
            return Power(None, "nvidia-smi tells no power.draw of it")
        return Power(statistics.fmean(self._seen), "nvidia-smi")

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
        which = self._device.details.get("index", 0)
        while not self._ended.is_set():
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                told = subprocess.run(
                    [*command, f"--id={which}"],
                    capture_output=True, text=True, timeout=5, check=True,
                )  # fmt: skip
                self._seen.append(float(told.stdout))
            self._ended.wait(INTERVAL)
