# SPDX-License-Identifier: Apache-2.0
"""Checks of one device in several threads."""

from __future__ import annotations

import errno
import time
from collections import Counter

from .check import check
from .outcome import Broken
from .raw import NOWAIT, RECORD, Stopwatch, after, last_error, name_of
from .subject import SOON, WAIT, Session
from .task import Task

TEXT = b"abcdefghijklmnopqrstuvwxyz0123456789"
BUDGET = 0.5
TOTAL = 1 << 15


@check
def read_and_write(run: Session) -> str:
    """Two threads may read and write one device at once; neither disturbs the other.

    Why: nearly every program with a protocol has one thread that listens.

    See: hal/device.h, "Threads"
    """
    if run.facts.no_wait or run.facts.no_echo or not run.subject.writes:
        return _beside(run)
    device = run.open()
    sent: list[bytes] = []

    def write() -> int:
        clock = Stopwatch()
        while len(sent) * len(TEXT) < TOTAL and clock.seconds < BUDGET:
            device.send(TEXT)
            sent.append(TEXT)
        return len(sent)

    task = Task(write)
    got = b""
    clock = Stopwatch()
    while task.waits or (len(got) < len(sent) * len(TEXT) and clock.seconds < WAIT):
        answer = device.read(4096, after(0.1))
        if answer.result == -errno.ETIMEDOUT:
            continue
        if answer.result <= 0:
            raise Broken(
                f"a read beside a write: {name_of(answer.result)} ({last_error()}), "
                f"after {len(got)} bytes"
            )
        got += answer.data
    count = task.result("writing beside a reader")
    if got != TEXT * count:
        raise Broken(f"{len(TEXT) * count} bytes were sent; {len(got)} came, or in another order")
    return f"{len(got)} bytes"


def _beside(run: Session) -> str:
    """Readers, and readers of attributes, without data: nothing may fail that does not alone."""
    device = run.open()
    alone = device.read(RECORD, NOWAIT).result
    names = [row.name for row in device.rows() if row.readable][:8]
    if run.subject.recorded:
        names = []
    single = {name: device.get(name, after(WAIT))[0] for name in names}

    def read() -> int:
        for _ in range(20):
            result = device.read(RECORD, NOWAIT if alone == -errno.EAGAIN else after(SOON)).result
            if result < 0 and result != alone:
                return result
        return 0

    def get() -> str:
        for name in names:
            result = device.get(name, after(WAIT))[0]
            if result != single[name]:
                return f'get "{name}" beside reads: {name_of(result)}'
        return ""

    readers, getters = [Task(read) for _ in range(2)], [Task(get) for _ in range(2)]
    for reader in readers:
        if result := reader.result("a reader beside others"):
            raise Broken(f"a read beside others: {name_of(result)}, alone {name_of(alone)}")
    for getter in getters:
        if text := getter.result("a get beside reads"):
            raise Broken(text)
    return "two readers beside two threads that get attributes"


@check
def two_readers(run: Session) -> str:
    """Two readers take turns, each within its own deadline, and no byte is lost or doubled.

    Why: a program's watchdog may read while its protocol does.

    See: hal/device.h, "Threads"
    """
    run.needs_waits()
    device = run.open()
    slow = Task(lambda: device.read(RECORD, after(0.4)).result)
    time.sleep(0.1)  # so that it is the first
    clock = Stopwatch()
    quick = device.read(RECORD, after(0.02)).result
    if quick not in (-errno.ETIMEDOUT, -errno.EAGAIN) or clock.seconds > SOON:
        raise Broken(
            f"the second reader has 20 ms: {name_of(quick)} after {clock.seconds * 1e3:.0f} ms"
        )
    first = slow.result("the first reader")
    if first != -errno.ETIMEDOUT:
        raise Broken(f"the first reader has 400 ms: {name_of(first)}")
    if run.facts.no_echo or not run.subject.writes:
        return "each ends at its own deadline"

    def read() -> Counter[int]:
        got: Counter[int] = Counter()
        while (answer := device.read(31, after(0.2))).result > 0:
            got.update(answer.data)
        return got

    sent: Counter[int] = Counter()
    for _ in range(50):
        taken = device.write(TEXT, after(0.1))
        sent.update(TEXT[: max(taken, 0)])
        if taken < len(TEXT):  # it is full
            break
    readers = [Task(read) for _ in range(2)]
    got = sum((reader.result("a reader") for reader in readers), Counter[int]())
    if got != sent:
        lost, extra = _total(sent - got), _total(got - sent)
        raise Broken(f"of {_total(sent)} bytes {lost} were lost, {extra} were too many")
    return f"{_total(got)} bytes"


def _total(counts: Counter[int]) -> int:
    return sum(counts.values())
