# SPDX-License-Identifier: Apache-2.0
"""How long loads took, each by itself: samples of the processor's memory-load event.

Processors that can (Intel: PEBS load latency, ``cpu/events/mem-loads``) note of one load in so many
how many cycles it took, and which level of the memory hierarchy it came from. The samples come
through a ring buffer that is shared with the kernel (perf_event_open(2), "MMAP layout").
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import statistics
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from hal._perf import lib

from . import counters
from .counters import SOURCES, Wanted
from .report import Event, Loads

NAME = "mem-loads"
PERIOD = 1000
"""One load in so many is a sample."""

_PAGES = 64  # of data: 256 KiB, 10 000 samples
_HEAD = 1024  # offset of data_head in struct perf_event_mmap_page
_DATA = 1040  # of data_offset, data_size
_ENABLE, _DISABLE = 0x2400, 0x2401  # PERF_EVENT_IOC_...
_SAMPLE = 9  # PERF_RECORD_SAMPLE
_LEVEL, _RAM = 5, 0x80 | 0x100 | 0x200  # PERF_MEM_LVL_SHIFT; LOC_RAM, REM_RAM1, REM_RAM2


def loads(work: Callable[[], object], sources: Path = SOURCES) -> Loads | Event:
    """Sample the loads of the calling thread while it works; or why that cannot be."""
    folder = next(
        (sources / pmu for pmu in counters.processor_pmus(sources) if _has(sources / pmu)), None
    )
    if folder is None:
        return _none(sources)
    kind, config = counters.described(folder, NAME)
    result = sample(kind, config, PERIOD, work)
    if isinstance(result, int):
        return counters.refusal(Wanted(NAME, kind, config), result)
    if not result:
        return Event(NAME, available=False, share=0.0, reason="it gave no sample")
    return summary(result)


def _has(pmu: Path) -> bool:
    return (pmu / "events" / NAME).exists()


def _none(sources: Path) -> Event:
    if counters.processor_pmus(sources):
        reason = "this processor's PMU has no such event in sysfs (it is one of Intel's)"
        return Event(NAME, available=False, share=0.0, reason=reason)
    return counters.refusal(Wanted(NAME, 0, (0, 0, 0)), errno.ENOENT, sources)


def summary(samples: Sequence[tuple[int, int]]) -> Loads:
    """What weights (cycles) and data sources tell."""
    weights = sorted(weight for weight, _ in samples)
    dram = sum(bool(source >> _LEVEL & _RAM) for _, source in samples)
    return Loads(
        len(samples),
        statistics.median(weights),
        weights[len(weights) * 9 // 10],
        dram / len(samples),
    )


def sample(
    kind: int, config: tuple[int, int, int], period: int, work: Callable[[], object]
) -> list[tuple[int, int]] | int:
    """Weights and data sources of an event of the calling thread while it works, or an errno."""
    descriptor = lib.perf_open_samples(kind, list(config), period)
    if descriptor < 0:
        return int(-descriptor)
    try:
        ring = mmap.mmap(descriptor, (1 + _PAGES) * mmap.PAGESIZE)
    except OSError as error:  # more than perf_event_mlock_kb
        os.close(descriptor)
        return error.errno or errno.ENOMEM
    with ring:
        try:
            fcntl.ioctl(descriptor, _ENABLE)
            work()
            fcntl.ioctl(descriptor, _DISABLE)
            return _records(ring)
        finally:
            os.close(descriptor)


def _records(ring: mmap.mmap) -> list[tuple[int, int]]:
    """What is in the buffer. Nobody reads it meanwhile, so that it never wraps: it gets full."""
    (head,) = struct.unpack_from("Q", ring, _HEAD)
    start, size = struct.unpack_from("QQ", ring, _DATA)
    found = []
    at = 0
    while at < min(head, size):
        kind, _, length = struct.unpack_from("IHH", ring, start + at)
        if kind == _SAMPLE:
            found.append(struct.unpack_from("QQ", ring, start + at + 8))
        at += length
    return found
