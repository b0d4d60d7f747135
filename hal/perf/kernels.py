# SPDX-License-Identifier: Apache-2.0
"""The measured loops (bindings/perf) and the memory they run on."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hal._perf import ffi, lib
from hal.errors import Error, InvalidArgument, Unsupported

from .report import LINE, Unit
from .size import floor

if TYPE_CHECKING:
    from hal._core import AnyBuffer


@dataclass(frozen=True)
class Pattern:
    """A way to access memory.

    Attributes:
        name: As in reports.
        number: enum perf_pattern.
        unit: Of its figure.
        writes: Whether the memory is another afterwards.
        copies: Whether it takes a second buffer.
        operation: The cache operation that it needs; "": none.
    """

    name: str
    number: int
    unit: Unit = "B/s"
    writes: bool = False
    copies: bool = False
    operation: str = ""


READ = Pattern("read", lib.PERF_READ)
READ_RANDOM = Pattern("read-random", lib.PERF_READ_RANDOM)
READ_AHEAD = Pattern("read-random-prefetched", lib.PERF_READ_RANDOM_AHEAD)
READ_SKEW = Pattern("read-random-unaligned", lib.PERF_READ_RANDOM_SKEW)
LATENCY = Pattern("latency", lib.PERF_CHASE, "s")
LATENCY_8 = Pattern("read-8-chains", lib.PERF_CHASE_8)
WRITE = Pattern("write", lib.PERF_WRITE, writes=True)
WRITE_RANDOM = Pattern("write-random", lib.PERF_WRITE_RANDOM, writes=True)
WRITE_NT = Pattern("write-nt", lib.PERF_WRITE_NT, writes=True, operation="fill")
COPY_OUT = Pattern("copy-out", lib.PERF_COPY_OUT, copies=True)
COPY_IN = Pattern("copy-in", lib.PERF_COPY_IN, writes=True, copies=True)
COPY_IN_NT = Pattern("copy-in-nt", lib.PERF_COPY_IN_NT, writes=True, copies=True, operation="copy")
FLUSH_LINES = Pattern("flush-lines", lib.PERF_FLUSH_LINES, writes=True, operation="writeback")
FLUSH_RANGE = Pattern("flush-range", lib.PERF_FLUSH_RANGE, writes=True, operation="writeback")
LOAD = Pattern("load", lib.PERF_LOAD)
STORE = Pattern("store", lib.PERF_STORE, writes=True)
TOUCH = Pattern("touch", lib.PERF_TOUCH)
TOUCH_WRITE = Pattern("touch-write", lib.PERF_TOUCH_WRITE)


class Memory:
    """A part of the address space to run loops on.

    Args:
        buffer: Its bytes, in one piece; kept alive. Not changed but by patterns that write.
        width: Bytes of every access to device memory, 4 or 8; 0: memory.

    Attributes:
        address: Of the first byte that is used, a multiple of 64.
        size: Bytes that are used, a power of two.

    Raises:
        InvalidArgument: It is not in one piece, or smaller than a line.
    """

    def __init__(self, buffer: AnyBuffer, width: int = 0) -> None:
        try:
            self._bytes = ffi.from_buffer(memoryview(buffer))  # type: ignore[arg-type] # numpy
        except (BufferError, ValueError) as error:
            raise InvalidArgument(f"measure: not in one piece ({error})") from None
        start = int(ffi.cast("uintptr_t", self._bytes))
        skip = -start % LINE
        self.address = start + skip
        self.size = floor(len(self._bytes) - skip)
        self.width = width
        if self.size < LINE:
            raise InvalidArgument(
                f"measure: {len(self._bytes)} bytes are no whole line of {LINE} bytes"
            )


@dataclass(frozen=True)
class Run:
    """What a loop did.

    Attributes:
        lines: Of all threads.
        seconds: Mean of the threads.
        rate: Lines per second, of all threads together.
        share: Part of the time that the threads had a processor.
    """

    lines: int
    seconds: float
    rate: float
    share: float


class Loop:
    """A pattern on a block of memory, to be run again and again.

    Each run goes on where the last one ended.

    Args:
        memory: Where.
        pattern: What.
        block: Bytes, a power of two, at most those of the memory.
        threads: At once, each in a part of the block.
        other: The second buffer of a copy.
        warm: Read the block before each run.
    """

    def __init__(
        self,
        memory: Memory,
        pattern: Pattern,
        block: int,
        threads: int = 1,
        other: Memory | None = None,
        *,
        warm: bool = False,
    ) -> None:
        self.memory, self.pattern, self._other = memory, pattern, other
        task: Any = ffi.new("struct perf_task *")
        task.pattern = pattern.number
        task.threads = threads
        task.block = ffi.cast("void *", memory.address)
        task.size = block
        task.width = memory.width
        task.warm = warm
        if other is not None:
            task.other = ffi.cast("void *", other.address)
            task.other_size = min(other.size, block)
        self._task = task

    def run(self, seconds: float, lines: int = 0) -> Run:
        """Run for a time, without the GIL, warm-up not counted.

        Args:
            seconds: How long.
            lines: After how many a thread ends earlier; 0: not.

        Raises:
            Unsupported: The processor lacks the instruction.
            Error: No thread or memory to be had.
        """
        result: Any = ffi.new("struct perf_result *")
        self._task.budget = int(seconds * 1e9)
        self._task.limit = lines
        error = -lib.perf_run(self._task, result)
        if error == errno.EOPNOTSUPP:
            raise Unsupported(error, f"{self.pattern.name}: this processor has no instruction")
        if error:
            raise Error(error, f"measure {self.pattern.name}: {os.strerror(error)}")
        return Run(result.lines, result.nanoseconds / 1e9, result.rate, result.share)


def order(lines: int, count: int, position: int = 0) -> list[int]:
    """The first lines of the random order of a block.

    Args:
        lines: Of the block, a power of two.
        count: How many are wanted.
        position: Where to begin, below `lines`.
    """
    out, at = ffi.new("uint64_t[]", count), ffi.new("uint64_t *", position)
    lib.perf_order(lines, at, count, out)
    return list(out)
