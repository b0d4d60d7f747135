# SPDX-License-Identifier: Apache-2.0
"""What is measured: which patterns on which memory, in which order."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

from hal import cache
from hal.errors import InvalidArgument

from . import kernels, pages
from .kernels import Loop, Memory, Pattern
from .report import LINE, Missing
from .size import floor
from .subject import Subject

TARGET = "target"
COMBINING = "target, write-combining"
DRAM = "dram"
HUGE = "dram, huge pages"

SMALLEST = 4096
"""Bytes of the smallest block of a sweep."""

STEP = 4
"""A block is so many times the one before."""

SECOND = 32 << 20
"""Most bytes of the other buffer of a copy."""

REFERENCE = 256 << 20
"""Most bytes of the DRAM that is measured to compare with."""

READING = (kernels.READ, kernels.READ_RANDOM, kernels.LATENCY, kernels.COPY_OUT)
WRITING = (
    kernels.WRITE,
    kernels.WRITE_RANDOM,
    kernels.WRITE_NT,
    kernels.COPY_IN,
    kernels.COPY_IN_NT,
)
IMPROVED_READING = (kernels.READ_AHEAD, kernels.READ_SKEW, kernels.LATENCY_8)
FLUSHING = (kernels.FLUSH_LINES, kernels.FLUSH_RANGE)


@dataclass(frozen=True)
class Probe:
    """One access to measure.

    Attributes:
        memory: Which memory, by name.
        loop: What is done.
        block: Bytes.
        threads: At once.
    """

    memory: str
    loop: Loop
    block: int
    threads: int

    @property
    def pattern(self) -> Pattern:
        """Of its loop."""
        return self.loop.pattern


@dataclass
class Plan:
    """What is measured.

    Attributes:
        probes: In the order of a round: what verdicts need first, then the sweep.
        missing: What is not, and why.
        reference: Bytes of the DRAM to compare with; 0: none.
    """

    probes: list[Probe] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    reference: int = 0

    def add(
        self,
        name: str,
        memory: Memory,
        patterns: tuple[Pattern, ...],
        block: int,
        threads: int,
        other: Memory | None = None,
    ) -> None:
        """Patterns on a block. Blocks that may be in a cache are read before each run."""
        warm = not memory.width and block <= 2 * pages.last_level_cache()
        for pattern in patterns:
            second = other if pattern.copies else None
            loop = Loop(memory, pattern, block, threads, second, warm=warm)
            self.probes.append(Probe(name, loop, block, threads))


def blocks(size: int, most: int, threads: int) -> list[int]:
    """Bytes of the blocks of a sweep, the largest first.

    Args:
        size: Bytes that there are.
        most: At most so many; 0: no limit.
        threads: Each needs a line.

    Raises:
        InvalidArgument: There is no line for every thread.
    """
    largest = floor(min(size, most or size))
    least = LINE * threads
    if largest < least:
        raise InvalidArgument(
            f"measure: blocks of at most {largest} bytes are too small for {threads} threads: "
            f"{least} bytes at least"
        )
    found = [largest]
    small = SMALLEST
    while small < largest:
        if small >= least:
            found.insert(1, small)
        small *= STEP
    return found


def plan(subject: Subject, most: int, threads: int, processors: int) -> Plan:
    """What to measure of a subject.

    Raises:
        InvalidArgument: Its blocks would be too small.
    """
    sizes = blocks(subject.memory.size, most, threads)
    if subject.target.device_memory:
        return _device_memory(subject, sizes, threads)
    result = Plan(missing=list(subject.missing))
    largest = sizes[0]
    second = anonymous(min(largest, SECOND))
    reading, writing = READING, _possible(WRITING, result) if subject.writable else ()
    result.add(TARGET, subject.memory, reading + writing, largest, threads, second)
    result.add(TARGET, subject.memory, IMPROVED_READING, largest, threads)
    if processors > 1 and processors != threads and largest >= processors * LINE:
        result.add(TARGET, subject.memory, (kernels.READ,), largest, processors)
    if threads != 1:
        result.add(TARGET, subject.memory, (kernels.READ, kernels.LATENCY), largest, 1)
    if subject.writable:
        result.add(TARGET, subject.memory, _possible(FLUSHING, result), largest, threads)
    _reference(result, largest, threads, processors)
    for size in sizes[1:]:
        result.add(TARGET, subject.memory, reading + writing, size, threads, second)
    return result


def _device_memory(subject: Subject, sizes: list[int], threads: int) -> Plan:
    result = Plan(missing=list(subject.missing))
    patterns: tuple[Pattern, ...] = (kernels.LOAD, kernels.LATENCY)
    if subject.writable:
        patterns += (kernels.STORE,)
    result.add(TARGET, subject.memory, patterns, sizes[0], threads)
    if subject.narrow is not None:
        result.add(TARGET, subject.narrow, patterns, sizes[0], threads)
    if subject.combining is not None:
        nt = _possible((kernels.WRITE_NT,), result)
        result.add(COMBINING, subject.combining, (*nt, kernels.STORE), sizes[0], threads)
    _reference(result, sizes[0], threads, 1)
    for size in sizes[1:]:
        result.add(TARGET, subject.memory, patterns, size, threads)
    return result


def _reference(result: Plan, largest: int, threads: int, processors: int) -> None:
    """DRAM to compare with, in ordinary and in huge pages."""
    size = floor(min(largest, REFERENCE, pages.available() // 8 or REFERENCE))
    if size < LINE * max(threads, processors):
        return
    result.reference = size
    patterns = (kernels.READ, kernels.READ_RANDOM, kernels.LATENCY)
    result.add(DRAM, anonymous(size, huge=False), patterns, size, threads)
    if processors > 1 and processors != threads:
        result.add(DRAM, result.probes[-1].loop.memory, (kernels.READ,), size, processors)
    huge = pages.huge_size()
    if not huge or size < huge:
        return
    memory = anonymous(size, huge=True)
    if pages.page_size(memory.address) == huge:
        result.add(HUGE, memory, (kernels.READ_RANDOM, kernels.LATENCY), size, threads)
        return
    setting = pages.huge_setting()
    result.missing.append(
        Missing(
            "huge pages",
            f"the kernel gave none (transparent_hugepage/enabled is {setting or 'not there'})",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
            if setting == "never"
            else "",
        )
    )


def _possible(patterns: tuple[Pattern, ...], result: Plan) -> tuple[Pattern, ...]:
    """Those whose cache operation this processor has; the others are noted."""
    choices = cache.info().choices
    found: list[Pattern] = []
    for pattern in patterns:
        choice = choices.get(pattern.operation)
        if choice is None or choice.instruction is not None:
            found.append(pattern)
        else:
            result.missing.append(Missing(pattern.name, choice.reason))
    return tuple(found)


def anonymous(size: int, *, huge: bool | None = None) -> Memory:
    """Memory of our own, written once so that it is there.

    Args:
        size: Bytes, a power of two.
        huge: Ask for huge pages, or for none; None: as the system does.
    """
    room = pages.huge_size() if huge else 0  # to begin where a huge page does
    area = mmap.mmap(-1, size + room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge is not None and pages.huge_setting():
        area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    skip = -Memory(area).address % room if room else 0
    memory = Memory(memoryview(area)[skip : skip + size])
    Loop(memory, kernels.WRITE, size).run(60.0, size // LINE)
    return memory
