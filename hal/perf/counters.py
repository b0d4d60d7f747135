# SPDX-License-Identifier: Apache-2.0
"""The processor's counters, by perf_event_open(2), and why not where there are none.

Events of this process (and the threads it makes meanwhile) count user space alone; those of memory
controllers ("uncore") count the whole machine. Where more are wanted than the processor has
counters, the kernel lets them take turns; counts are then scaled by time enabled / time running.

Sources: perf_event_open(2), the kernel's admin-guide/perf-security.rst and
ABI/testing/sysfs-bus-event_source-devices-{events,format}.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hal._perf import lib

from .report import Event

SOURCES = Path("/sys/bus/event_source/devices")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3  # enum perf_type_id
_L1D, _LL, _DTLB, _NODE = 0, 2, 3, 6  # enum perf_hw_cache_id
_ACCESS, _MISS = 0, 1 << 16  # of loads


@dataclass(frozen=True)
class Wanted:
    """An event to count.

    Attributes:
        name: As in reports.
        kind: enum perf_type_id, or the number of a PMU.
        config: What it counts, config to config2.
        cpu: Which processor, for the whole machine; -1: this process.
        scale: What one count stands for.
    """

    name: str
    kind: int
    config: tuple[int, int, int]
    cpu: int = -1
    scale: float = 1.0


GENERIC = tuple(
    Wanted(name, kind, (config, 0, 0))
    for name, kind, config in (
        ("cycles", _HARDWARE, 0),
        ("instructions", _HARDWARE, 1),
        ("cache-references", _HARDWARE, 2),
        ("cache-misses", _HARDWARE, 3),
        ("stalled-cycles-backend", _HARDWARE, 8),
        ("L1-dcache-load-misses", _CACHE, _L1D | _MISS),
        ("LLC-loads", _CACHE, _LL | _ACCESS),
        ("LLC-load-misses", _CACHE, _LL | _MISS),
        ("dTLB-load-misses", _CACHE, _DTLB | _MISS),
        ("node-loads", _CACHE, _NODE | _ACCESS),
        ("node-load-misses", _CACHE, _NODE | _MISS),
        ("page-faults", _SOFTWARE, 2),
    )
)
"""Those that the kernel has names for. node-loads are loads from this node's DRAM."""


@dataclass(frozen=True)
class Count:
    """What a counter shows.

    Attributes:
        value: Counted so far.
        enabled: Nanoseconds that it was wanted.
        running: Nanoseconds that it had a hardware counter.
    """

    value: int
    enabled: int
    running: int

    def __sub__(self, earlier: Count) -> Count:
        return Count(
            self.value - earlier.value,
            self.enabled - earlier.enabled,
            self.running - earlier.running,
        )

    def __add__(self, other: Count) -> Count:
        return Count(
            self.value + other.value, self.enabled + other.enabled, self.running + other.running
        )

    @property
    def share(self) -> float:
        """Part of the time that it counted."""
        return self.running / self.enabled if self.enabled else 0.0

    @property
    def scaled(self) -> float | None:
        """What it would have counted all the time; None: it never did."""
        return self.value * self.enabled / self.running if self.running else None


NOTHING = Count(0, 0, 0)


class Counters:
    """Open counters; ``with`` closes them.

    Args:
        wanted: Which; those that cannot be had are in `refused`.
    """

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._open: list[tuple[Wanted, int]] = []
        self.refused: list[Event] = []
        for event in wanted:
            descriptor = lib.perf_open_counter(event.kind, list(event.config), event.cpu)
            if descriptor >= 0:
                self._open.append((event, descriptor))
            else:
                self.refused.append(refusal(event, -descriptor))

    def __enter__(self) -> Counters:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    @property
    def counting(self) -> list[Wanted]:
        """The events that are counted."""
        return [event for event, _ in self._open]

    def read(self) -> list[Count]:
        """All counters, in the order of `counting`. They never stop."""
        return [Count(*struct.unpack("QQQ", os.read(fd, 24))) for _, fd in self._open]


# ---- why not ------------------------------------------------------------------------------------


def refusal(event: Wanted, error: int, sources: Path = SOURCES, paranoid: Path = PARANOID) -> Event:
    """Why a counter could not be opened, and what to do."""
    reason, advice = _why(event, error, sources, paranoid)
    return Event(event.name, available=False, share=0.0, reason=reason, advice=advice)


def _why(event: Wanted, error: int, sources: Path, paranoid: Path) -> tuple[str, str]:
    if error == errno.ENOSYS or not paranoid.exists():
        return "the kernel was built without perf events", "a kernel with CONFIG_PERF_EVENTS"
    if error in {errno.EACCES, errno.EPERM}:
        return _forbidden(event, paranoid)
    if error in {errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV}:
        if event.kind in {_HARDWARE, _CACHE} and not processor_pmus(sources):
            return (
                f"no PMU of the processor in {sources} (virtual machines often have none)",
                "give the guest one (QEMU: -cpu host,pmu=on), or measure on the host",
            )
        return f"this processor's PMU has no such event ({os.strerror(error)})", ""
    if error == errno.EMFILE:
        return "too many open files", "ulimit -n 1024"
    return os.strerror(error), ""


def _forbidden(event: Wanted, paranoid: Path) -> tuple[str, str]:
    level = int(paranoid.read_text(encoding="ascii"))
    enough = 0 if event.cpu >= 0 else 2
    if level > enough and not _may_monitor():
        return (
            f"kernel.perf_event_paranoid is {level}, and you have no CAP_PERFMON",
            f"sudo sysctl kernel.perf_event_paranoid={enough}",
        )
    return (
        "perf_event_open(2) is forbidden, though kernel.perf_event_paranoid "
        f"({level}) allows it: a container's seccomp filter, or lockdown",
        "docker run --cap-add PERFMON, with a seccomp profile that has perf_event_open",
    )


def _may_monitor() -> bool:
    """Whether this process has CAP_PERFMON or CAP_SYS_ADMIN (capability.h: 38, 21)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^CapEff:\s+([0-9a-f]+)$", status, re.MULTILINE)
    return bool(found and int(found[1], 16) & (1 << 38 | 1 << 21))


def processor_pmus(sources: Path = SOURCES) -> list[str]:
    """PMUs of processors: "cpu", "cpu_core" and "cpu_atom", "armv8_pmuv3_0" ..."""
    known = re.compile(r"cpu|cpu_(core|atom)|armv\d.*|apple_.*_pmu|riscv.*")
    return sorted(path.name for path in _folders(sources) if known.fullmatch(path.name))


# ---- PMUs that sysfs describes ------------------------------------------------------------------

_CONTROLLERS = re.compile(r"uncore_imc.*|amd_umc.*|arm_dmc.*|.*ddr.*")
_BYTES = re.compile(r"(?:cas_count|data)_(read|write)s?")


def memory_controllers(sources: Path = SOURCES) -> tuple[list[Wanted], Event | None]:
    """Events that count bytes of DRAM, of every memory controller; and why there are none."""
    folders = [path for path in _folders(sources) if _CONTROLLERS.fullmatch(path.name)]
    events = [event for folder in folders for event in _controller_events(folder)]
    if events:
        return events, None
    if folders:
        names = ", ".join(path.name for path in folders)
        reason, advice = f"{names}: no event for bytes in sysfs that states its unit", ""
    else:
        reason = f"no PMU of a memory controller in {sources}"
        advice = "measure on the host; its driver may be a module (modprobe intel_uncore)"
    return [], Event("dram-bytes", available=False, share=0.0, reason=reason, advice=advice)


def _controller_events(folder: Path) -> Iterator[Wanted]:
    """Events whose unit is known: sysfs gives MiB, with a scale."""
    cpus = [int(number) for number in re.findall(r"\d+", _text(folder / "cpumask"))[:1]] or [0]
    for path in sorted((folder / "events").glob("*")):
        found = _BYTES.fullmatch(path.name)
        unit, scale = _text(Path(f"{path}.unit")), _text(Path(f"{path}.scale"))
        if found and unit == "MiB" and scale:
            kind, config = described(folder, path.name)
            name = f"dram-{found[1]}-bytes"
            yield Wanted(name, kind, config, cpus[0], float(scale) * (1 << 20))


def described(folder: Path, name: str) -> tuple[int, tuple[int, int, int]]:
    """Type and configuration of an event that sysfs describes.

    Args:
        folder: Of the PMU.
        name: Of the event.

    Raises:
        ValueError: The description names a field that its format lacks.
        OSError: There is no such event.
    """
    config = [0, 0, 0]
    for term in (folder / "events" / name).read_text(encoding="ascii").strip().split(","):
        field, _, text = term.partition("=")
        value = int(text, 0) if text else 1
        which, bits = _field(folder, field)
        for bit in bits:
            config[which] |= (value & 1) << bit
            value >>= 1
    return int((folder / "type").read_text(encoding="ascii")), (config[0], config[1], config[2])


def _field(folder: Path, field: str) -> tuple[int, list[int]]:
    """Which word of the configuration, and which of its bits, from "config1:0-7,32"."""
    if re.fullmatch(r"config[12]?", field):
        return int(field[6:] or 0), list(range(64))
    found = re.fullmatch(r"config([12]?):([\d,-]+)", _text(folder / "format" / field))
    if found is None:
        raise ValueError(f"{folder}: no format for {field}")
    bits: list[int] = []
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        bits += range(int(first), int(last or first) + 1)
    return int(found[1] or 0), bits


def _folders(sources: Path) -> list[Path]:
    try:
        return sorted(sources.iterdir())
    except OSError:  # no such bus: no PMU
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # the kernel leaves out what does not apply
        return ""


def per_line(
    counts: Mapping[Wanted, Count], lines: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Counts of a line by name, alike ones added up, and the share of time each had."""
    values: dict[str, float] = {}
    shares: dict[str, float] = {}
    for event, count in counts.items():
        scaled = count.scaled
        if scaled is not None and lines:
            values[event.name] = values.get(event.name, 0.0) + scaled * event.scale / lines
        shares[event.name] = min(shares.get(event.name, 1.0), count.share)
    return values, shares
