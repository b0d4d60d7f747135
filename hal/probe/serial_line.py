# SPDX-License-Identifier: Apache-2.0
"""Steps of hal-probe test for serial lines, real ones and a pseudo-terminal made for it."""

from __future__ import annotations

import os
import select
import termios
import time
from dataclasses import dataclass

import hal

from . import exercise
from .exercise import WAIT, Ends, Exercise, Wrong

SPEEDS = (9600, 19200, 57600, 115200)


def settings(run: Exercise, line: hal.Uart) -> None:
    """Set every speed and stop bit, read them back, and put them as they were."""
    with run.step("settings read back") as step:
        before = line.baud, line.stop
        try:
            for baud in SPEEDS:
                line.baud = baud
                if abs(line.baud - baud) > baud * 0.03:
                    raise Wrong(f"baud was set to {baud} and reads as {line.baud}")
            for stop in (2.0, 1.0):
                line.stop = stop
                if line.stop != stop:
                    raise Wrong(f"stop was set to {stop:g} and reads as {line.stop:g}")
        finally:
            line.baud, line.stop = before
        step.text = f"baud {', '.join(map(str, SPEEDS))}; stop bits 1, 2"


def loop(run: Exercise, line: hal.Device, seconds_a_byte: float) -> None:
    """Drive a device whose output comes back as its input."""
    ends = Ends(line.write, line.read_exact, "out and back")
    line.timeout = WAIT + 8192 * seconds_a_byte
    exercise.patterns(run, ends)
    if run.failed:
        run.skip("latency, lines, throughput", "bytes do not come back as they went out")
        return

    def exchange(message: bytes) -> bytes:
        line.write(message)
        return line.read_exact(len(message))

    total = int(min(1 << 20, max(4096, 0.5 / seconds_a_byte))) if seconds_a_byte else 1 << 20
    exercise.latency(run, exchange, 100 if seconds_a_byte else 2000, "out and back")
    exercise.lines(run, line, line.write, 64 if seconds_a_byte else 2000)
    exercise.throughput(run, ends, total // 2048 * 2048)
    line.timeout = WAIT


@dataclass
class Pty:
    """The other side of a pseudo-terminal: a real tty of the kernel, with us as the far end."""

    master: int
    path: str

    @classmethod
    def make(cls) -> Pty:
        """A new one. Its slave is closed again, so that the driver alone holds it."""
        master, slave = os.openpty()
        path = os.ttyname(slave)
        os.close(slave)
        return cls(master, path)

    def send(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            self._wait(select.POLLOUT)
            view = view[os.write(self.master, view) :]

    def receive(self, count: int) -> bytes:
        """Read `count` bytes."""
        got = b""
        while len(got) < count:
            self._wait(select.POLLIN)
            got += os.read(self.master, count - len(got))
        return got

    def close(self) -> None:
        """Pull the plug."""
        os.close(self.master)

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self.master, events)
        if not poll.poll(WAIT * 1000):
            raise Wrong(f"nothing moved for {WAIT:g} s")


def pty(run: Exercise, far: Pty, line: hal.Uart) -> None:
    """Drive a pseudo-terminal from both sides, and pull its plug at the end."""
    _settings_seen_by_the_kernel(run, far, line)
    settings(run, line)
    inward = Ends(far.send, line.read_exact, "line to program")
    outward = Ends(line.write, far.receive, "program to line")
    exercise.patterns(run, inward)
    exercise.patterns(run, outward)
    exercise.lines(run, line, far.send, 2000)

    def echo(message: bytes) -> bytes:
        line.write(message)
        far.send(far.receive(len(message)))
        return line.read_exact(len(message))

    exercise.latency(run, echo, 2000, "echo")
    exercise.throughput(run, inward, 2 << 20)
    exercise.throughput(run, outward, 2 << 20)
    exercise.waits(run, line)
    _unplug(run, far, line)


_CODES = {9600: termios.B9600, 38400: termios.B38400, 921600: termios.B921600}


def _settings_seen_by_the_kernel(run: Exercise, far: Pty, line: hal.Uart) -> None:
    """What the driver sets is what the kernel has, read from the other side (termios(3))."""
    with run.step("settings, from the far end") as step:
        before = line.baud
        for baud, code in _CODES.items():
            line.baud = baud
            found = termios.tcgetattr(far.master)
            if found[4:6] != [code, code]:
                raise Wrong(f"baud was set to {baud}, the kernel has codes {found[4:6]}")
        line.baud = before
        mode = termios.tcgetattr(far.master)
        if mode[3] & (termios.ICANON | termios.ECHO | termios.ISIG) or mode[1] & termios.OPOST:
            raise Wrong("the line is not raw")
        step.text = f"baud {', '.join(map(str, _CODES))}; raw"


def _unplug(run: Exercise, far: Pty, line: hal.Uart) -> None:
    """Close the far end while a read waits."""
    with run.step("unplug") as step:
        ended = exercise.in_thread(lambda: line.read(1, timeout=WAIT))
        time.sleep(0.05)  # So that the read waits already.
        began = time.perf_counter()
        far.close()
        error = ended()
        if not isinstance(error, hal.Unplugged):
            raise Wrong(f"a read on an unplugged line ended with {error!r}")
        step.timed(time.perf_counter() - began)
        step.text += f", {error}"
