# SPDX-License-Identifier: Apache-2.0
"""Threads, signals and the GIL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import hal
from tests.conftest import Line, Task

Background = Callable[[Callable[[], object]], Task]


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.read(timeout=5),
        lambda d: d.read_into(bytearray(8), timeout=5),
        lambda d: d.read_exact(1, timeout=5),
        lambda d: d.readline(timeout=5),
        lambda d: d.poll(timeout=5),
        lambda d: d.readv([bytearray(8)], 5),
    ],
    ids=["read", "read_into", "read_exact", "readline", "poll", "readv"],
)
def test_the_gil_is_not_held_while_waiting(
    line: Line, call: Callable[[hal.Device], object], background: Background
) -> None:
    task = background(lambda: call(line.device))
    assert sum(range(100_000)) == 4_999_950_000  # we run while it waits
    assert task.thread.is_alive()
    line.send(b"\n")
    task.result()


def test_reader_and_writer_run_beside_each_other(loopback: hal.Device) -> None:
    total = 3_000_000
    received = bytearray()

    def read() -> None:
        while len(received) < total:
            received.extend(loopback.read(timeout=10))

    reader = Task(read)
    sent = os.urandom(total)
    done = 0
    while done < total:
        done += loopback.write(memoryview(sent)[done : done + 70_001], timeout=10)
    reader.result(30)
    assert received == sent


def test_two_readers_take_turns(loopback: hal.Device) -> None:
    lines: list[bytes] = []

    def read() -> None:
        while (got := loopback.readline(timeout=10)) != b"end\n":
            lines.append(got)

    readers = [Task(read), Task(read)]
    expected = [b"%d\n" % number for number in range(2000)]
    for text in expected:
        loopback.write(text, timeout=10)
    loopback.write(b"end\nend\n")
    for reader in readers:
        reader.result(30)
    assert sorted(lines, key=int) == expected


def test_a_second_reader_waits_within_its_own_deadline(
    loopback: hal.Device, background: Background
) -> None:
    first = background(lambda: loopback.read(timeout=5))
    with pytest.raises(hal.Timeout):
        loopback.read(timeout=0.05)
    with pytest.raises(hal.WouldBlock):
        loopback.read(timeout=0)
    loopback.write(b"x")
    assert first.result() == b"x"


def test_open_use_and_close_from_many_threads() -> None:
    def work() -> None:
        for _ in range(100):
            with hal.open("loopback:") as device:
                device.write(b"line\n")
                assert device.readline(timeout=5) == b"line\n"
                assert len(device.attributes) == 2

    for task in [Task(work) for _ in range(6)]:
        task.result(60)


def talk(device: hal.Device) -> None:
    """Use a device until it fails."""
    while True:
        device.write(b"x\n")
        device.readline()


def test_closing_under_many_users() -> None:
    for _ in range(30):
        device = hal.open("loopback:")

        def use(device: hal.Device = device) -> None:
            with pytest.raises((hal.Cancelled, hal.Closed)):
                talk(device)

        tasks = [Task(use) for _ in range(3)]
        time.sleep(0.002)
        device.close()
        for task in tasks:
            task.result()


# ---- signals (PEP 475) --------------------------------------------------------------------------


def test_a_signal_handler_runs_and_the_read_goes_on(line: Line) -> None:
    ran = threading.Event()
    old = signal.signal(signal.SIGALRM, lambda *_: ran.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begin = time.monotonic()
        with pytest.raises(hal.Timeout):
            line.device.read(timeout=0.2)
        assert 0.19 < time.monotonic() - begin < 2  # the deadline is the same after the signal
        assert ran.is_set()
    finally:
        signal.signal(signal.SIGALRM, old)


def test_an_exception_of_a_handler_ends_the_read(line: Line) -> None:
    def handler(*_: Any) -> None:
        raise LookupError("from the handler")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(LookupError, match="from the handler"):
            line.device.read()
    finally:
        signal.signal(signal.SIGALRM, old)
    line.send(b"x")
    assert line.device.read(timeout=5) == b"x"


BLOCKED = """
import sys, hal
if sys.argv[1] == "python":
    class Slow(hal.Driver):
        def read(self, n, deadline):
            self.device.wait(deadline)
    hal.register_driver("slow", Slow)
    device = hal.open("slow:")
else:
    device = hal.open("loopback:")
print("ready", flush=True)
try:
    device.read()
except KeyboardInterrupt:
    print("interrupted", flush=True)
device.close()
"""


@pytest.mark.parametrize("driver", ["c", "python"])
def test_control_c_ends_a_blocking_read(driver: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED, driver], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
        assert process.wait(10) == 0
