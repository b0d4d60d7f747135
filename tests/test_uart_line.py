# SPDX-License-Identifier: Apache-2.0
"""hal.Uart: the settings of a real tty, seen from its other side by termios."""

from __future__ import annotations

import os
import termios
import time
from typing import Any

import pytest

import hal
from tests.conftest import Line

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED = range(6)


def settings(line: Line) -> list[Any]:
    """The line's termios, read at the master."""
    return termios.tcgetattr(line.master)


@pytest.mark.parametrize(
    ("baud", "speed"),
    [
        (50, termios.B50),
        (9600, termios.B9600),
        (115200, termios.B115200),
        (4000000, termios.B4000000),
    ],
)
def test_baud(line: Line, baud: int, speed: int) -> None:
    line.device.baud = baud
    assert line.device.baud == baud
    assert settings(line)[ISPEED : OSPEED + 1] == [speed, speed]


@pytest.mark.parametrize("baud", [31250, 250000, 123457])
def test_any_speed_not_only_the_standard_ones(line: Line, baud: int) -> None:
    line.device.baud = baud
    assert line.device.baud == baud


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_bits_are_taken_or_refused(line: Line, bits: int) -> None:
    try:
        line.device.bits = bits
    except hal.Error:  # Linux keeps a pty at 8 bits, and the driver says so
        assert bits != 8
    assert settings(line)[CFLAG] & termios.CSIZE == getattr(termios, f"CS{line.device.bits}")


@pytest.mark.parametrize("stop", [1, 2])
def test_stop_bits(line: Line, stop: int) -> None:
    line.device.stop = stop
    assert line.device.stop == stop
    assert bool(settings(line)[CFLAG] & termios.CSTOPB) == (stop == 2)


@pytest.mark.parametrize("flow", ["none", "rtscts", "xonxoff"])
def test_flow_control(line: Line, flow: str) -> None:
    line.device.flow = flow
    assert line.device.flow == flow
    assert bool(settings(line)[CFLAG] & termios.CRTSCTS) == (flow == "rtscts")
    assert bool(settings(line)[IFLAG] & termios.IXON) == (flow == "xonxoff")


def test_the_line_is_raw(line: Line) -> None:
    now = settings(line)
    assert not now[LFLAG] & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert not now[OFLAG] & termios.OPOST


def test_options_are_settings(line: Line) -> None:
    line.device.close()
    with hal.Uart.open(f"uart:{line.path}", baud=19200, stop=2, flow="xonxoff") as device:
        assert (device.baud, device.stop, device.flow) == (19200, 2, "xonxoff")
        assert device.uri == f"uart:{line.path}?baud=19200&stop=2&flow=xonxoff"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("baud", 0, "outside"), ("bits", 9, "5 .. 8"), ("parity", "wild", "none, even, odd")],
)
def test_wrong_settings_are_refused(line: Line, name: str, value: Any, message: str) -> None:
    with pytest.raises(hal.InvalidArgument, match=message):
        setattr(line.device, name, value)


def test_queues_and_flush(line: Line) -> None:
    line.send(b"noise")
    deadline = time.monotonic() + 5
    while line.device.input_queue != 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert line.device.input_queue == 5
    line.device.flush()
    assert line.device.input_queue == 0
    line.send(b"first\nrest")
    assert line.device.readline(timeout=5) == b"first\n"
    line.device.flush(output=False)
    assert line.device.pending == 0
    line.send(b"signal")
    assert line.device.read(timeout=5) == b"signal"


def test_drain_and_break(line: Line) -> None:
    line.device.write(b"x")
    line.device.drain(timeout=5)
    line.device.break_(0.001)
    for wrong in (0, 5.1, float("nan")):
        with pytest.raises(hal.InvalidArgument, match=r"0\.001 to 5 seconds"):
            line.device.break_(wrong)


def test_an_input_line_cannot_be_set(line: Line) -> None:
    with pytest.raises(AttributeError):
        line.device.cts = True
    with pytest.raises(hal.PermissionDenied):
        line.device.attributes["cts"] = True


def test_every_property_is_an_attribute(line: Line) -> None:
    properties = {
        value.attribute for value in vars(hal.Uart).values() if hasattr(value, "attribute")
    }
    assert properties <= set(line.device.attributes)


def test_wrong_request(line: Line) -> None:
    with pytest.raises(hal.Unsupported, match="request"):
        line.device.control(0x5599)
    with pytest.raises(hal.InvalidArgument):
        line.device.control(0x5501, b"too short"[:2])


def test_the_line_is_free_after_close(line: Line) -> None:
    line.device.close()
    descriptor = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    os.close(descriptor)
    with hal.open(f"uart:{line.path}") as again:
        line.send(b"again")
        assert again.read(timeout=5) == b"again"
