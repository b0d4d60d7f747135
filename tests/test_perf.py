# SPDX-License-Identifier: Apache-2.0
"""hal.perf: what is measured, what is left alone, what follows from the figures.

No test asserts a speed; the verdicts are tested on figures of the tests' own.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hal
from hal import perf
from hal.perf import bound, compare, counters, kernels, pages, plan, samples, session, size, subject
from hal.perf.counters import Count, Counters, Wanted
from hal.perf.report import Comparison, Figure, Point, Target

quick = partial(perf.measure, seconds=0.15, rounds=2)
FILL = 0xA5

# ---- sizes --------------------------------------------------------------------------------------


def test_sizes_are_read_and_shown() -> None:
    for text, number in (("64KiB", 65536), ("1 GiB", 1 << 30), ("4096", 4096), ("3B", 3)):
        assert size.parse(text) == number
    for number in (1, 63, 64, 4096, 65536, 3 << 20, 1 << 40, 5 << 30):
        assert size.parse(size.text(number)) == number
    for wrong in ("", "64kb", "-1", "1.5MiB", "MiB", "0x10", "9" * 16, "1MiB\n2"):
        with pytest.raises(hal.InvalidArgument, match="KiB"):
            size.parse(wrong)
    assert [size.floor(n) for n in (0, 1, 2, 3, 4096, 5000)] == [0, 1, 2, 2, 4096, 4096]


# ---- blocks and plans ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "most", "threads", "expected"),
    [
        (1 << 16, 0, 1, [65536, 4096, 16384]),
        ((1 << 16) + 100, 0, 1, [65536, 4096, 16384]),
        (1 << 30, 20000, 1, [16384, 4096]),
        (4096, 0, 1, [4096]),
        (100, 0, 1, [64]),
        (64, 0, 1, [64]),
        (1 << 14, 0, 65, [16384]),
        (1 << 14, 0, 64, [16384, 4096]),
    ],
)
def test_blocks(length: int, most: int, threads: int, expected: list[int]) -> None:
    assert sorted(plan.blocks(length, most, threads)) == sorted(expected)
    assert plan.blocks(length, most, threads)[0] == max(expected)


@pytest.mark.parametrize(("length", "most", "threads"), [(63, 0, 1), (4096, 63, 1), (4096, 0, 65)])
def test_blocks_too_small(length: int, most: int, threads: int) -> None:
    with pytest.raises(hal.InvalidArgument, match=f"{64 * threads} bytes at least"):
        plan.blocks(length, most, threads)


# ---- loops --------------------------------------------------------------------------------------


def test_the_order_is_one_cycle() -> None:
    order = kernels.order(1024, 2048)
    assert sorted(order[:1024]) == list(range(1024))
    assert order[1024:] == order[:1024]


def test_memory_begins_at_a_line_and_is_a_power_of_two() -> None:
    array = np.zeros(5000, "u1")
    for start in range(0, 70, 7):
        memory = kernels.Memory(array[start:])
        assert memory.address % 64 == 0
        assert memory.size == 4096
        assert array.ctypes.data + start <= memory.address < array.ctypes.data + start + 64
    with pytest.raises(hal.InvalidArgument, match="one piece"):
        kernels.Memory(array[::2])
    with pytest.raises(hal.InvalidArgument, match="no whole line"):
        kernels.Memory(array[:63])


def test_an_impossible_loop_is_an_error() -> None:
    memory = kernels.Memory(np.zeros(4096, "u1"))
    with pytest.raises(hal.Error) as caught:
        kernels.Loop(memory, kernels.COPY_OUT, 1024).run(0.001)  # to where?
    assert caught.value.errno == errno.EINVAL


# ---- measurements -------------------------------------------------------------------------------


def test_an_array_is_measured_and_left_alone() -> None:
    array = np.arange(1 << 15, dtype="u8")
    before = array.copy()
    report = quick(array)
    assert (array == before).all()
    assert {p.pattern for p in report.points if p.memory == "target"} == {
        "read",
        "read-random",
        "read-random-prefetched",
        "read-random-unaligned",
        "latency",
        "read-8-chains",
        "copy-out",
    }
    largest = max(p.block for p in report.points)
    assert largest == (1 << 18 if array.ctypes.data % 64 == 0 else 1 << 17)
    assert not report.target.written
    assert [m.what for m in report.missing if "--write" in m.advice] == ["writing"]
    for point in report.points:
        figure = point.figure
        assert 0 < figure.low <= figure.median <= figure.high
        assert 1 <= figure.rounds <= 2
    assert report.stopped in {"", "time"}
    assert "last-level cache" in " ".join(report.notes) or not report.cache
    json.dumps(report.as_dict())


def test_an_array_is_written_where_that_is_asked_for() -> None:
    array = np.arange(1 << 13, dtype="u8")
    report = quick(array, write=True)
    assert report.target.written
    start = -array.ctypes.data % 64
    assert (array.view("u1")[start : start + 64] == FILL).all()
    assert report.point("write") is not None
    assert report.point("write", block=4096) is not None
    names = [pair.name for pair in report.comparisons]
    assert {"alignment", "order", "batch", "prefetch"} <= set(names)
    assert ("flush" in names) == (hal.cache.info().choices["writeback"].instruction is not None)
    flush = next((pair for pair in report.comparisons if pair.name == "flush"), None)
    assert flush is None or "needs no flush" in flush.advice


def test_a_memfd_is_ours_to_write() -> None:
    with hal.open("memory:memfd:perf", size=1 << 18) as device:
        report = quick(device, threads=2)
    assert report.target.written
    assert report.target.size == 1 << 18
    assert report.target.page == mmap.PAGESIZE
    point = report.point("write")
    assert point is not None
    assert point.threads == 2
    assert report.point("read", threads=1) is not None  # to compare with
    assert [b.access for b in report.bounds] == ["sequential read", "random read", "dependent read"]
    assert report.bounds[2].in_flight == pytest.approx(2)
    dram = report.point("latency", memory="dram")
    assert dram is not None
    assert dram.block == report.points[0].block


@pytest.fixture
def shared() -> Iterator[str]:
    """Shared memory that holds something."""
    name = f"hal-perf-{os.getpid()}"
    path = Path("/dev/shm", name)
    path.write_bytes(bytes(range(256)) * 256)
    yield f"memory:shm:/{name}"
    path.unlink()


def test_shared_memory_keeps_what_it_holds(shared: str) -> None:
    with hal.Memory.open(shared) as device:
        report = quick(device, most=4096)
        assert device.read_at(65536, 0) == bytes(range(256)) * 256
        assert report.point("write") is None
        assert max(p.block for p in report.points) == 4096
        report = quick(device, most=4096, write=True)
        assert report.point("write") is not None
        changed = device.read_at(65536, 0)
        assert changed[:4096] != (bytes(range(256)) * 256)[:4096]
        assert changed[4096:] == (bytes(range(256)) * 256)[4096:]


def test_a_read_only_device_is_not_mapped_for_writing(shared: str) -> None:
    with hal.Memory.open(shared, read_only=True) as device:
        assert quick(device, most=4096).point("read") is not None
        with pytest.raises(hal.PermissionDenied, match="leave --write"):
            perf.measure(device, write=True)


def test_a_file_by_the_mmio_driver_is_memory(shared: str) -> None:
    with hal.open(shared.replace("memory:shm:/", "mmio:/dev/shm/")) as device:
        report = quick(device, most=4096)
    assert not report.target.device_memory
    assert report.point("read") is not None


def test_what_cannot_be_measured() -> None:
    strided = np.zeros((64, 64))[:, ::2]
    frozen = np.zeros(4096, "u1")
    frozen.flags.writeable = False
    with pytest.raises(hal.InvalidArgument, match="not in one piece"):
        perf.measure(strided)
    with pytest.raises(hal.InvalidArgument, match="objects"):
        perf.measure(np.full(64, None))
    with pytest.raises(hal.InvalidArgument, match="cannot be written"):
        perf.measure(frozen, write=True)
    with pytest.raises(hal.InvalidArgument, match="no whole line"):
        perf.measure(bytearray(10))
    with hal.open("loopback:") as device, pytest.raises(hal.Unsupported):
        perf.measure(device)
    for name, wrong in (
        ("seconds", 0.001),
        ("rounds", 0),
        ("rounds", 1001),
        ("threads", 0),
        ("threads", 1025),
        ("most", -1),
    ):
        with pytest.raises(hal.InvalidArgument, match=name):
            perf.measure(frozen, **{name: wrong})  # type: ignore[arg-type]
    assert quick(frozen).point("read") is not None


def test_pages_that_were_never_written_are_made_without_being_changed() -> None:
    """Read alone, they would all be the kernel's one page of zeros, which fits into any cache."""
    area = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(area, "u1")
    with subject.subject(array) as what:
        assert what.anonymous
    quick(array)
    with Path("/proc/self/pagemap").open("rb") as entries:
        entries.seek(array.ctypes.data // mmap.PAGESIZE * 8)
        present = np.frombuffer(entries.read(8 * (1 << 20) // mmap.PAGESIZE), "u8")
    exclusive = (present >> 56) & 1  # pagemap.rst: bit 56, mapped here alone: not the zero page
    assert exclusive.all()
    assert not array.any()


def test_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SHORTEST", 0.005)
    report = perf.measure(np.zeros(1 << 16, "u1"), seconds=0.01, rounds=1000)
    assert report.stopped == "time"
    assert {p.figure.rounds for p in report.points} <= {1, 2}
    assert report.seconds < 10


def test_cancelling_gives_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        begun.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def add(*arguments: Any) -> None:
        begun.set()
        real(*arguments)

    begun, real = threading.Event(), session._Session._add
    monkeypatch.setattr(session._Session, "_add", add)
    thread = threading.Thread(target=interrupt)
    thread.start()
    report = perf.measure(np.ones(1 << 20, "u1"), seconds=60, rounds=1000)
    thread.join()
    assert report.stopped == "cancelled"
    assert report.seconds < 30
    assert report.points or report.missing


# ---- device memory ------------------------------------------------------------------------------


def facts(kind: str, *, io: bool) -> hal.cache.Facts:
    return hal.cache.Facts(kind, "not needed", True, False, False, io, "", "", "", "", 0, 0)


@pytest.mark.parametrize("prefetchable", [True, False])
def test_device_memory_is_accessed_by_exact_widths(
    prefetchable: bool, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel says is made up; the plan and the loops are the real ones."""
    kind = "write-combining" if prefetchable else "uncached"
    monkeypatch.setattr(hal.cache, "query", lambda _: facts(kind, io=True))
    with hal.open(shared.replace("memory:shm:/", "mmio:/dev/shm/")) as device:
        if not prefetchable:
            with pytest.raises(hal.Unsupported, match="--registers"):
                perf.measure(device)
        report = quick(device, most=4096, registers=not prefetchable)
        mine = [p for p in report.points if p.memory == "target"]
        assert {p.pattern for p in mine} == {"load", "latency"}
        assert {p.width for p in mine} == ({4, 8} if prefetchable else {4})
        assert {b.kind for b in report.bounds} == {"device"}
        assert report.target.device_memory
        before = device.read_at(65536, 0)
        report = quick(device, most=4096, registers=True, write=True)
        changed = device.read_at(65536, 0) != before
        assert changed == prefetchable == (report.point("store") is not None)
        if prefetchable:  # a file has no second mapping
            assert any(m.what == "write-combining" for m in report.missing)
        else:
            assert any("never written" in m.reason for m in report.missing)
    with pytest.raises(hal.InvalidArgument, match="give the device"):
        perf.measure(np.zeros(4096))


# ---- the rule -----------------------------------------------------------------------------------

EVIDENCE = bound.Evidence("random read", rate=1e9, latency=100e-9, peak=10e9)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"width": 4}, "device"),
        ({"width": 4, "rate": 10e9}, "device"),
        ({"rate": 7.4e9}, "parallelism"),
        ({"rate": 7.5e9}, "bandwidth"),
        ({"rate": 10e9, "translation": 90e-9}, "bandwidth"),
        ({"rate": 1.27e9}, "latency"),  # 1.98 lines on their way
        ({"rate": 1.28e9}, "parallelism"),  # 2
        ({"rate": 1.29e9}, "parallelism"),
        ({"rate": 2.55e9, "threads": 2}, "latency"),
        ({"rate": 2.56e9, "threads": 2}, "parallelism"),
        ({"translation": 24.9e-9}, "latency"),
        ({"translation": 25e-9}, "tlb"),
        ({"translation": 25.1e-9, "rate": 5e9}, "tlb"),
        ({"translation": 0.0}, "latency"),
        ({"translation": None}, "latency"),
    ],
)
def test_the_rule_below_at_and_above_its_thresholds(
    change: dict[str, float | None], kind: str
) -> None:
    evidence = replace(EVIDENCE, **change)  # type: ignore[arg-type]
    verdict = bound.judge(evidence)
    assert verdict.kind == kind
    assert verdict.in_flight == pytest.approx(
        evidence.rate * evidence.latency / (evidence.width or 64)
    )
    assert bound.judge(evidence, "do this").advice == "do this"


def test_statements_follow_the_figures() -> None:
    one = bound.judge(replace(EVIDENCE, rate=9e9)).statement
    assert one.startswith("bound by bandwidth: 9 GB/s are 90% of the highest rate")
    assert one.endswith("(10 GB/s, one thread)")
    other = replace(EVIDENCE, rate=8e9, peak=8.5e9, peak_threads=4, dram=20e9)
    two = bound.judge(other).statement
    assert "8 GB/s are 94%" in two
    assert two.endswith("(8.5 GB/s, 4 threads; DRAM 20 GB/s)")
    many = bound.judge(replace(EVIDENCE, rate=6.4e9)).statement
    assert "10 lines on their way" in many
    assert "10 GB/s, takes 15.6" in many
    tlb = bound.judge(replace(EVIDENCE, translation=40e-9)).statement
    assert "40 ns of the 100 ns of a load (40%)" in tlb
    slow = replace(EVIDENCE, width=4, rate=4e6, latency=1e-6)
    assert "4 bytes goes to the device: 1 us" in bound.judge(slow).statement


TARGET = Target("x", 4096, "ordinary", "needed", 4096, False, True, "")


def point(pattern: str, value: float, **change: object) -> Point:
    unit = "s" if pattern == "latency" else "B/s"
    figure = Figure(value, value * 0.9, value * 1.1, 3)
    made = Point("target", pattern, 1 << 20, 1, 0, unit, figure, False, {})  # type: ignore[arg-type]
    return replace(made, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("improved", "ratio", "certain", "words"),
    [
        (1.05e9, 1.05, False, "no difference"),
        (1.0999e9, 1.0999, False, "no difference"),
        (1.1e9, 1.1, False, "measure again"),
        (1.23e9, 1.23, True, "prefetch what"),
        (2e9, 2.0, True, "prefetch what"),
        (0.92e9, 0.92, False, "no difference"),
        (0.9e9, 0.9, False, "measure again"),
        (0.5e9, 0.5, True, "slower here"),
    ],
)
def test_advice_follows_the_ratio(improved: float, ratio: float, certain: bool, words: str) -> None:
    points = [point("read-random", 1e9), point("read-random-prefetched", improved)]
    (pair,) = compare.compare(points, TARGET, 1, 2)
    assert pair.ratio == pytest.approx(ratio)
    assert pair.certain == certain
    assert words in pair.advice
    helped = compare.helps("random read", [pair], huge=False)
    assert bool(helped) == (ratio >= 1.1 and certain)


def test_comparisons_of_latency_and_rate_and_of_what_is_missing() -> None:
    points = [point("latency", 64e-9), point("read-8-chains", 5e9)]
    (pair,) = compare.compare(points, TARGET, 1, 1)
    assert (pair.name, pair.unit) == ("batch", "B/s")
    assert pair.naive_value == pytest.approx(1e9)
    assert pair.ratio == pytest.approx(5)
    assert compare.compare([points[0]], TARGET, 1, 1) == ()
    other = [points[0], point("read-8-chains", 5e9, block=4096)]
    assert compare.compare(other, TARGET, 1, 1) == ()
    busy = [points[0], point("read-8-chains", 5e9, disturbed=True)]
    assert compare.compare(busy, TARGET, 1, 1) == ()
    flush = [point("flush-lines", 1e9), point("flush-range", 9e9)]
    (pair,) = compare.compare(flush, TARGET, 1, 1)
    assert "ranges" in pair.advice
    (pair,) = compare.compare(flush, replace(TARGET, flush="not needed"), 1, 1)
    assert "needs no flush" in pair.advice


def test_bounds_follow_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "huge_size", lambda: 1 << 21)
    points = [
        point("read", 9e9),
        point("read", 10e9, threads=2),
        point("read-random", 2e9),
        point("latency", 100e-9),
        point("latency", 90e-9, memory="dram"),
        point("latency", 60e-9, memory="dram, huge pages"),
    ]
    kinds = [b.kind for b in session.bounds(points, (), 4096, 1)]
    assert kinds == ["bandwidth", "tlb", "tlb"]  # 30 ns of 100
    kinds = [b.kind for b in session.bounds(points, (), 1 << 21, 1)]
    assert kinds == ["bandwidth", "parallelism", "latency"]
    busy = [points[0], replace(points[1], disturbed=True), *points[2:]]
    assert "100% of the highest" in session.bounds(busy, (), 4096, 1)[0].statement
    noisy = [*points[:5], replace(points[5], figure=Figure(60e-9, 50e-9, 85e-9, 3))]
    kinds = [b.kind for b in session.bounds(noisy, (), 4096, 1)]
    assert kinds == ["bandwidth", "parallelism", "latency"]  # rounds overlap: nothing is known
    slow = [point("read", 1e9), point("read", 9e9, threads=2), *points[2:]]
    assert session.bounds(slow, (), 4096, 1)[0].kind == "latency"  # pages are no matter in order
    seen = Comparison("batch", 1 << 20, "", "", "s", 1, 1, 6.0, True, "look up several")
    verdicts = session.bounds(points, (seen,), 1 << 21, 1)
    assert verdicts[2].advice == "look up several (6.0 times as fast here)"
    assert session.bounds(points[:3], (), 4096, 1) == ()


def test_rounds_in_which_others_had_the_processors_do_not_count() -> None:
    memory = kernels.Memory(np.ones(4096, "u1"))
    probe = plan.Probe("target", kernels.Loop(memory, kernels.READ, 4096, 2), 4096, 2)
    tally = session.Tally(rates=[1.0, 2.0, 5.0], shares=[0.5, 0.89, 0.9])
    seen = session._point(probe, tally, 2)
    assert (seen.figure.median, seen.figure.rounds, seen.disturbed) == (5.0 * 64, 1, False)
    seen = session._point(probe, replace(tally, shares=[0.5, 0.5, 0.8]), 2)
    assert (seen.figure.median, seen.figure.rounds, seen.disturbed) == (2.0 * 64, 3, True)
    assert not session._point(probe, tally, 1).disturbed  # more threads than processors
    one = replace(probe, threads=1)
    assert session._point(one, replace(tally, shares=[0.1] * 3), 2).figure.rounds == 3
    assert "too low" in session._quiet([seen], 0)[0]


# ---- counters -----------------------------------------------------------------------------------


def test_page_faults_are_counted() -> None:
    """A counter of the kernel's own, which is there on every machine that allows counting."""
    faults = [event for event in counters.GENERIC if event.name == "page-faults"]
    with Counters(faults) as counting:
        if not counting.counting:
            pytest.skip(counting.refused[0].reason)
        before = counting.read()
        area = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if pages.huge_setting():
            area.madvise(mmap.MADV_NOHUGEPAGE)
        area[:] = bytes(1 << 20)
        (count,) = (new - old for new, old in zip(counting.read(), before, strict=True))
    assert count.value >= (1 << 20) // mmap.PAGESIZE
    assert count.share == 1
    assert counting.counting == []


def test_every_event_counts_or_says_why_not() -> None:
    report = quick(np.ones(1 << 16, "u1"))
    names = {event.name for event in report.events}
    assert {event.name for event in counters.GENERIC} <= names
    for event in report.events:
        assert event.available == (event.reason == "")
        counted = any(event.name in p.counters for p in report.points)
        assert counted == event.available, event


def test_counts_are_scaled_when_counters_take_turns() -> None:
    event = Wanted("cycles", 0, (0, 0, 0))
    values, shares = counters.per_line({event: Count(100, 1000, 250)}, 10)
    assert (values, shares) == ({"cycles": 40.0}, {"cycles": 0.25})
    values, shares = counters.per_line({event: Count(0, 1000, 0)}, 10)
    assert (values, shares) == ({}, {"cycles": 0.0})
    controllers = [Wanted("dram-read-bytes", 9, (n, 0, 0), 0, 64.0) for n in (1, 2)]
    values, _ = counters.per_line({c: Count(5, 1, 1) for c in controllers}, 10)
    assert values == {"dram-read-bytes": 64.0}
    assert Count(9, 9, 9) - Count(4, 3, 2) + Count(1, 1, 1) == Count(6, 7, 8)


def test_samples_come_through_the_kernels_buffer() -> None:
    """The kernel's clock stands in for loads: its samples have the same form."""

    def work() -> None:
        kernels.Loop(memory, kernels.READ, memory.size).run(0.05)

    memory = kernels.Memory(np.ones(1 << 16, "u1"))
    clock = samples.sample(1, (0, 0, 0), 1_000_000, work)  # PERF_COUNT_SW_CPU_CLOCK, each ms
    if isinstance(clock, int):
        pytest.skip(counters.refusal(CYCLES, clock).reason)
    assert 1 <= len(clock) <= 100
    assert {weight for weight, _ in clock} == {0}
    assert samples.summary(clock).from_dram == 0
    many = samples.sample(1, (0, 0, 0), 1_000, work)  # more than the buffer takes, where it can
    assert isinstance(many, list)
    assert len(many) >= len(clock) // 2


def test_what_samples_tell() -> None:
    cache, dram = 0x08 << 5 | 0x02 << 5, 0x80 << 5 | 0x02 << 5  # PERF_MEM_LVL_L1, _LOC_RAM; _HIT
    seen = samples.summary([(5, cache)] * 7 + [(300, dram)] * 2 + [(900, dram)])
    assert (seen.count, seen.cycles, seen.slow) == (10, 5, 900)
    assert seen.from_dram == pytest.approx(0.3)


def test_why_loads_are_not_sampled(tmp_path: Path) -> None:
    none = samples.loads(lambda: None, tmp_path)
    assert isinstance(none, perf.Event)
    assert "no PMU" in none.reason
    (tmp_path / "cpu").mkdir()
    other = samples.loads(lambda: None, tmp_path)
    assert isinstance(other, perf.Event)
    assert "no such event" in other.reason


@pytest.fixture
def paranoid(tmp_path: Path) -> Path:
    path = tmp_path / "perf_event_paranoid"
    path.write_text("3\n")
    return path


CYCLES = Wanted("cycles", 0, (0, 0, 0))
CONTROLLER = Wanted("dram-read-bytes", 20, (0, 0, 0), cpu=0)


@pytest.mark.parametrize(
    ("event", "error", "level", "capable", "words", "advice"),
    [
        (CYCLES, errno.ENOENT, 3, False, "no PMU of the processor", "pmu=on"),
        (CYCLES, errno.EACCES, 3, False, "perf_event_paranoid is 3", "perf_event_paranoid=2"),
        (CYCLES, errno.EPERM, 2, False, "seccomp", "PERFMON"),
        (CYCLES, errno.EPERM, 3, True, "seccomp", "PERFMON"),
        (CONTROLLER, errno.EACCES, 1, False, "perf_event_paranoid is 1", "perf_event_paranoid=0"),
        (CONTROLLER, errno.EACCES, 0, False, "seccomp", "PERFMON"),
        (CONTROLLER, errno.EINVAL, 0, True, "Invalid argument", ""),
        (CYCLES, errno.EMFILE, 0, True, "too many open files", "ulimit"),
        (CYCLES, errno.ENOSYS, 0, True, "without perf events", "CONFIG_PERF_EVENTS"),
    ],
)
def test_why_a_counter_is_not_there(
    event: Wanted,
    error: int,
    level: int,
    capable: bool,
    words: str,
    advice: str,
    tmp_path: Path,
    paranoid: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counters, "_may_monitor", lambda: capable)
    paranoid.write_text(f"{level}\n")
    refusal = counters.refusal(event, error, tmp_path / "none", paranoid)
    assert not refusal.available
    assert words in refusal.reason
    assert advice in refusal.advice


def test_a_pmu_without_an_event(tmp_path: Path, paranoid: Path) -> None:
    (tmp_path / "cpu").mkdir()
    refusal = counters.refusal(CYCLES, errno.ENOENT, tmp_path, paranoid)
    assert "has no such event" in refusal.reason
    refusal = counters.refusal(CYCLES, errno.ENOENT, tmp_path, tmp_path / "missing")
    assert "without perf events" in refusal.reason


def test_events_that_sysfs_describes(tmp_path: Path) -> None:
    """Laid out as the kernel's intel_uncore does (ABI/testing/sysfs-bus-event_source-devices)."""
    for number in (0, 1):
        folder = tmp_path / f"uncore_imc_{number}"
        for name, text in {
            "type": f"{20 + number}\n",
            "cpumask": "0,36\n",
            "format/event": "config:0-7\n",
            "format/umask": "config:8-15\n",
            "format/far": "config1:0-1,32\n",
            "events/cas_count_read": "event=0x04,umask=0x03\n",
            "events/cas_count_read.scale": "6.103515625e-5\n",
            "events/cas_count_read.unit": "MiB\n",
            "events/clockticks": "event=0x00\n",
        }.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    events, why_not = counters.memory_controllers(tmp_path)
    assert why_not is None
    assert events == [
        Wanted("dram-read-bytes", number, (0x0304, 0, 0), 0, 64.0) for number in (20, 21)
    ]
    odd = tmp_path / "uncore_imc_0/events/odd"
    odd.write_text("event=1,far=0x7\n")
    assert counters.described(odd.parents[1], "odd") == (20, (1, 0x1_0000_0003, 0))
    odd.write_text("config2=0xffffffffffffffff,umask\n")
    assert counters.described(odd.parents[1], "odd") == (20, (0x100, 0, 2**64 - 1))
    odd.write_text("event=1,unheard=2\n")
    with pytest.raises(ValueError, match="unheard"):
        counters.described(odd.parents[1], "odd")


def test_no_memory_controller(tmp_path: Path) -> None:
    events, why_not = counters.memory_controllers(tmp_path)
    assert events == []
    assert why_not is not None
    assert "no PMU of a memory controller" in why_not.reason
    (tmp_path / "amd_umc_0").mkdir()
    _, why_not = counters.memory_controllers(tmp_path)
    assert why_not is not None
    assert "amd_umc_0" in why_not.reason


# ---- pages --------------------------------------------------------------------------------------


def test_pages_of_a_mapping() -> None:
    area = mmap.mmap(-1, 1 << 16)
    memory = kernels.Memory(area)
    assert pages.page_size(memory.address) == mmap.PAGESIZE
    assert pages.page_size(0) == 0
    assert pages.available() > 0


def test_huge_pages_are_seen() -> None:
    huge = pages.huge_size()
    if not huge or pages.huge_setting() == "never":
        pytest.skip("this kernel gives no huge pages (transparent_hugepage/enabled)")
    memory = plan.anonymous(huge, huge=True)
    if pages.page_size(memory.address) != huge:
        pytest.skip("the kernel had no huge page free")
    plain = plan.anonymous(huge, huge=False)
    assert pages.page_size(plain.address) == mmap.PAGESIZE


# ---- plots --------------------------------------------------------------------------------------


def test_a_plot_shows_the_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = quick(np.ones(1 << 16, "u1"))
    path = tmp_path / "report.svg"
    perf.plot(report, path)
    drawn = path.read_text()
    largest = size.text(report.points[0].block)
    for word in ("read-random", "copy-out", "GB/s", largest, report.target.name):
        assert word in drawn
    assert "prefetched" not in drawn  # measured in one block: not a line
    perf.plot(report, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == path.read_bytes()
    perf.plot(report, tmp_path / "REPORT.PNG")
    assert (tmp_path / "REPORT.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(hal.InvalidArgument, match=r"\.svg nor \.png"):
        perf.plot(report, tmp_path / "report.pdf")
    with pytest.raises(FileNotFoundError):
        perf.plot(report, tmp_path / "none" / "report.svg")
    empty = replace(report, points=())
    perf.plot(empty, path)
