# SPDX-License-Identifier: Apache-2.0
"""A serial line (a pseudo-terminal) from Python: hal, bare calls, pyserial, python-periphery."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import periphery
import serial

import hal

from .rounds import Row, medians

SIZE = 64
BATCH = 32
LINE = b"x" * (SIZE - 1) + b"\n"


@contextmanager
def pty() -> Iterator[tuple[int, str]]:
    """The far end's descriptor and the near end's path."""
    far, near = os.openpty()
    try:
        tty.setraw(near)
        yield far, os.ttyname(near)
    finally:
        os.close(near)
        os.close(far)


def _drain(far: int, count: int) -> None:
    while count:
        count -= len(os.read(far, count))


def _fill(far: int, data: bytes) -> None:
    os.write(far, data)
    time.sleep(100e-6)  # a pty hands bytes over on a kernel worker


def write_row() -> Row:
    """``dev.write(b)`` against ``os.write`` on the same descriptor."""
    with pty() as (far, path), hal.open(f"uart:{path}") as dev:
        fd = dev.fileno()
        found = medians(
            {"hal": lambda: dev.write(LINE), "os.write": lambda: os.write(fd, LINE)},
            rounds=2001,
            batch=BATCH,
            after=lambda: _drain(far, SIZE * BATCH),
        )
    return _against("Python write, 64 B", found, "os.write", "<= 1.10")


def read_row() -> Row:
    """``dev.read_into(buf)`` against ``os.readv`` on the same descriptor."""
    with pty() as (far, path), hal.open(f"uart:{path}") as dev:
        fd = dev.fileno()
        buffer = bytearray(SIZE)
        buffers = [buffer]
        found = medians(
            {"hal": lambda: dev.read_into(buffer), "os.readv": lambda: os.readv(fd, buffers)},
            rounds=2001,
            batch=BATCH,
            before=lambda: _fill(far, LINE * BATCH),
        )
    return _against("Python read_into, 64 B", found, "os.readv", "<= 1.10")


def readline_row() -> Row:
    """A 64-byte line, waiting in the kernel, by ``readline``."""
    with pty() as (far, path):
        theirs = serial.Serial(path, timeout=1)
        with hal.open(f"uart:{path}?exclusive=false") as dev:
            found = medians(
                {"hal": lambda: dev.readline(timeout=1), "pyserial": theirs.readline},
                rounds=501,
                before=lambda: _fill(far, LINE),
            )
        theirs.close()
    return _times_faster("readline, 64 B", found, "pyserial", ">= 25")


def _echo_child(far: int) -> int:
    """A process that sends back what comes; its own interpreter lock, as a real peer has."""
    pid = os.fork()
    if pid:
        return pid
    while True:
        os.write(far, os.read(far, SIZE))


def echo_rows() -> list[Row]:
    """64 bytes written and the same 64 read back, over a pty with another process at its end."""
    with pty() as (far, path):
        child = _echo_child(far)
        try:
            found = _echo_medians(path)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    rows = []
    for peer in ("pyserial", "periphery"):
        note = f"the bare system calls alone are {found[peer] / found['bare']:.2f} times faster"
        name = f"request and answer, 64 B ({peer})"
        rows.append(replace(_times_faster(name, found, peer, ">= 1.5"), note=note))
    return rows


def _echo_medians(path: str) -> dict[str, float]:
    ser = serial.Serial(path, timeout=1)
    per = periphery.Serial(path, 115200)
    dev = hal.open(f"uart:{path}?exclusive=false")
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    answer = bytearray(SIZE)

    def by_hal() -> None:
        dev.write(LINE)
        dev.read_exact(SIZE, timeout=1)

    def by_pyserial() -> None:
        ser.write(LINE)
        ser.read(SIZE)

    def by_periphery() -> None:
        per.write(LINE)
        per.read(SIZE, 1)

    def bare() -> None:
        os.write(fd, LINE)
        got = 0
        while got < SIZE:
            got += os.readv(fd, [memoryview(answer)[got:]])

    try:
        return medians(
            {"hal": by_hal, "pyserial": by_pyserial, "periphery": by_periphery, "bare": bare},
            rounds=1001,
        )
    finally:
        os.close(fd)
        dev.close()
        per.close()
        ser.close()


def _against(name: str, found: dict[str, float], peer: str, goal: str) -> Row:
    ours = found.pop("hal")
    return Row(name, ours, found, goal, ours / found[peer])


def _times_faster(name: str, found: dict[str, float], peer: str, goal: str) -> Row:
    theirs = {key: value for key, value in found.items() if key in (peer, "bare")}
    return Row(name, found["hal"], theirs, goal, found[peer] / found["hal"])


def rows() -> list[Row]:
    """All rows of this module."""
    return [write_row(), read_row(), readline_row(), *echo_rows()]
