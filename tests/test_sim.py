# SPDX-License-Identifier: Apache-2.0
"""The simulator: every fault, its repeatability, and what the classes do when all goes well."""

from __future__ import annotations

import errno
import select
import threading
import time
from typing import Any

import pytest

import hal

DATA = bytes(range(256)) * 4


def echoed(**faults: Any) -> bytes:
    """What of DATA comes back through a simulated line with these faults."""
    with hal.open("sim:uart", **faults) as line:
        line.write(DATA, timeout=5)
        got = b""
        while line.poll(select.POLLIN | select.POLLOUT, timeout=0) & select.POLLIN:
            got += line.read(4096, timeout=0)
        return got


def test_without_faults_nothing_goes_wrong() -> None:
    assert echoed() == DATA


def test_an_unknown_class_names_those_there_are() -> None:
    with pytest.raises(hal.NotFound, match=r'no class "toaster".*uart, i2c, spi, gpio, memory'):
        hal.open("sim:toaster")


@pytest.mark.parametrize("fault", ["drop", "corrupt"])
def test_chance_repeats_itself_by_its_seed(fault: str) -> None:
    first = echoed(**{fault: "10%", "seed": 5})
    assert first == echoed(**{fault: 0.1, "seed": 5})
    assert first != echoed(**{fault: 0.1, "seed": 6})
    assert first != DATA


def test_dropped_bytes_are_missing_in_order() -> None:
    got = echoed(drop=0.2)
    rest = iter(DATA)
    assert all(byte in rest for byte in got)  # a subsequence
    assert 0.5 * len(DATA) < len(got) < 0.9 * len(DATA)


def test_corruption_changes_one_bit_of_a_byte() -> None:
    got = echoed(corrupt=0.05)
    assert len(got) == len(DATA)
    changed = [a ^ b for a, b in zip(got, DATA, strict=True) if a != b]
    assert changed
    assert sum(bits.bit_count() == 1 for bits in changed) >= len(changed) * 0.8  # twice is rare


def test_short_reads_lose_nothing() -> None:
    with hal.open("sim:uart?short=1&seed=1") as line:
        line.write(DATA, timeout=5)
        assert len(line.read(len(DATA), timeout=1)) < len(DATA)
        pieces = b""
        while len(pieces) < 100:
            pieces += line.read(100, timeout=1)


def test_read_exact_survives_short_reads() -> None:
    with hal.open("sim:uart?short=1&seed=2") as line:
        line.write(DATA, timeout=5)
        assert line.read_exact(len(DATA), timeout=5) == DATA


@pytest.mark.parametrize("code", ["EIO", "EREMOTEIO", "ETIMEDOUT", "EBUSY", "EACCES"])
def test_errors_are_those_asked_for(code: str) -> None:
    with hal.open("sim:i2c", error=1, error_code=code) as device:
        with pytest.raises(hal.Error, match="a fault, as its options ask") as raised:
            device.write(b"\0a")
        assert raised.value.errno == getattr(errno, code)
        device.attributes["error"] = 0
        device.write(b"\0a")


def fails(device: hal.Device) -> bool:
    """Whether one write fails."""
    try:
        device.write(b"x")
    except hal.Error:
        return True
    return False


def test_errors_come_as_often_as_asked() -> None:
    with hal.open("sim:spi?error=25%&seed=3") as device:
        failed = sum(fails(device) for _ in range(400))
    assert 60 < failed < 140


def test_latency_takes_its_time_and_keeps_deadlines() -> None:
    with hal.open("sim:i2c?latency=30ms") as device:
        start = time.monotonic()
        device.write(b"\0a", timeout=5)
        assert time.monotonic() - start >= 0.03
        with pytest.raises(hal.Timeout):
            device.write(b"\0b", timeout=0.005)
        device.write(b"\0", timeout=5)
        assert device.read_exact(1, timeout=5) == b"a"  # the write that timed out did nothing


def test_latency_ends_on_cancel() -> None:
    with hal.open("sim:i2c?latency=30s") as device:
        threading.Timer(0.05, device.cancel).start()
        start = time.monotonic()
        with pytest.raises(hal.Cancelled):
            device.read(1)
        assert time.monotonic() - start < 5


def test_jitter_adds_up_to_so_much() -> None:
    with hal.open("sim:spi?latency=1ms&jitter=20ms&seed=1") as device:
        times = []
        for _ in range(8):
            start = time.monotonic()
            device.write(b"x")
            times.append(time.monotonic() - start)
    assert min(times) >= 0.001
    assert max(times) - min(times) > 0.002


def test_unplugged_after_so_many_operations() -> None:
    with hal.open("sim:spi?unplug_after_ops=3") as device:
        for _ in range(3):
            device.write(b"x")
        with pytest.raises(hal.Unplugged, match="unplugged, as its options ask"):
            device.write(b"x")
        assert device.attributes["unplugged"] is True
        assert device.attributes["ops"] == 3


def test_unplugged_by_the_clock_wakes_a_reader() -> None:
    with hal.open("sim:uart?unplug_after=100ms") as line:
        start = time.monotonic()
        with pytest.raises(hal.Unplugged):
            line.read(1, timeout=30)
        assert 0.09 <= time.monotonic() - start < 5


def test_unplugged_by_hand_and_put_back() -> None:
    with hal.open("sim:uart") as line:
        pull = threading.Timer(0.05, lambda: line.attributes.update(unplugged=True))
        pull.start()
        with pytest.raises(hal.Unplugged):
            line.read(1, timeout=30)
        pull.join()
        assert line.poll(select.POLLIN, timeout=0) & select.POLLHUP
        line.attributes["unplugged"] = False
        line.write(b"back")
        assert line.read(10, timeout=1) == b"back"


def test_a_full_line_waits_for_its_reader() -> None:
    with hal.open("sim:uart?size=16") as line:
        assert line.write(b"x" * 20, timeout=0.02) == 16
        with pytest.raises(hal.Timeout):
            line.write(b"y", timeout=0.02)
        threading.Timer(0.05, lambda: line.read(16)).start()
        assert line.write(b"y", timeout=5) == 1


def test_i2c_is_a_register_file() -> None:
    with hal.open("sim:i2c") as device:
        device.write(b"\x10abc")
        reply = bytearray(3)
        device.transfer([hal.Segment(b"\x10"), hal.Segment(rx=reply)])
        assert bytes(reply) == b"abc"


def test_spi_is_a_wire() -> None:
    with hal.open("sim:spi") as device:
        reply = bytearray(4)
        device.transfer([hal.Segment(b"ping", rx=reply)])
        assert bytes(reply) == b"ping"


def test_gpio_reads_what_was_driven() -> None:
    with hal.open("sim:gpio?size=4") as device:
        device.write(b"\1\0\1\0")
        assert device.read(4) == b"\1\0\1\0"
        with pytest.raises(hal.InvalidArgument):
            device.write(b"\2")
        with pytest.raises(hal.InvalidArgument):
            device.write(b"\1" * 5)


def test_memory_is_written_and_read() -> None:
    with hal.open("sim:memory?size=64") as device:
        device.write(b"hello")
        assert device.read(5) == b"hello"


def test_a_setting_out_of_range_says_which_range() -> None:
    with pytest.raises(hal.InvalidArgument, match=r"drop.*outside 0 .. 1"):
        hal.open("sim:uart?drop=150%")
