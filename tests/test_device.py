# SPDX-License-Identifier: Apache-2.0
"""hal.Device: moving bytes, buffers, deadlines, cancel, close."""

from __future__ import annotations

import array
import contextlib
import gc
import math
import os
import resource
import select
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal
from hal._abi import ffi, lib
from hal.device import uri_with_options
from tests.conftest import Line, Task
from tests.forked import IS_THREADED, in_child

Background = Callable[[Callable[[], object]], Task]

EVERY_BYTE = bytes(range(256))


# ---- moving bytes -------------------------------------------------------------------------------


def test_every_byte_value_passes_a_serial_line_both_ways(line: Line) -> None:
    assert line.device.write(EVERY_BYTE) == 256
    assert line.receive(256) == EVERY_BYTE
    line.send(EVERY_BYTE)
    assert line.device.read_exact(256, timeout=5) == EVERY_BYTE


def test_read_gives_what_is_there(loopback: hal.Device) -> None:
    loopback.write(b"some")
    assert loopback.read() == b"some"
    loopback.write(b"more than four")
    assert loopback.read(4) == b"more"
    assert loopback.read(n=65536, timeout=1) == b" than four"
    assert loopback.read(0) == b""


def test_read_exact_waits_for_all_of_it(line: Line, background: Background) -> None:
    task = background(lambda: line.device.read_exact(6, timeout=5))
    line.send(b"abc")
    time.sleep(0.02)
    line.send(b"def")
    assert task.result() == b"abcdef"


def test_read_until_any_delimiter(loopback: hal.Device) -> None:
    loopback.write(b"one\r\ntwo;three")
    assert loopback.read_until(b"\r\n") == b"one\r\n"
    assert loopback.read_until(delimiter=bytearray(b";"), size=100, timeout=1) == b"two;"
    assert loopback.pending == 5
    assert loopback.read() == b"three"
    assert loopback.pending == 0


@pytest.mark.parametrize("length", [0, 17])
def test_read_until_refuses_a_delimiter_out_of_bounds(loopback: hal.Device, length: int) -> None:
    with pytest.raises(hal.InvalidArgument):
        loopback.read_until(b"x" * length, timeout=1)


def test_read_until_takes_the_longest_delimiter(loopback: hal.Device) -> None:
    loopback.write(b"ab" + b"x" * 16)
    assert loopback.read_until(b"x" * 16, timeout=1) == b"ab" + b"x" * 16


@pytest.mark.parametrize("size", [4095, 4096, 4097, 60000])
def test_lines_of_any_length(loopback: hal.Device, size: int) -> None:
    sent = b"x" * (size - 1) + b"\n"
    loopback.write(sent + b"next\n")
    assert loopback.readline(timeout=5) == sent
    assert loopback.readline(timeout=5) == b"next\n"


@pytest.mark.parametrize("size", [10, 5000])
def test_a_line_that_is_too_long_is_kept(loopback: hal.Device, size: int) -> None:
    sent = b"y" * size + b"\n"
    loopback.write(sent)
    with pytest.raises(hal.InvalidArgument, match="stay in the device") as caught:
        loopback.readline(size, timeout=1)
    assert caught.value.errno == 90  # EMSGSIZE
    assert loopback.readline(size + 1, timeout=1) == sent


def test_iteration_gives_lines(loopback: hal.Device) -> None:
    loopback.write(b"a\nb\nc\n")
    assert [next(loopback) for _ in range(3)] == [b"a\n", b"b\n", b"c\n"]
    loopback.timeout = 0.01
    with pytest.raises(hal.Timeout):
        next(loopback)


def test_vectored_forms(loopback: hal.Device) -> None:
    assert loopback.writev([b"ab", bytearray(b"cd"), memoryview(b"e")]) == 5
    first, second = bytearray(2), bytearray(8)
    assert loopback.readv([first, second], timeout=1) == 5
    assert first == b"ab"
    assert second[:3] == b"cde"
    with pytest.raises(BufferError, match="readv needs a writable"):
        loopback.readv([b"xx"])
    with pytest.raises(hal.InvalidArgument):
        loopback.writev([b"x"] * 1025)


def test_poll_says_what_would_not_wait(loopback: hal.Device) -> None:
    assert loopback.poll(select.POLLOUT, timeout=1) == select.POLLOUT
    with pytest.raises(hal.Timeout):
        loopback.poll(timeout=0.01)
    loopback.write(b"x\ny")
    assert loopback.poll(select.POLLIN, 1) == select.POLLIN
    loopback.readline()
    assert loopback.poll(timeout=1) == select.POLLIN  # what is buffered counts
    with pytest.raises(hal.InvalidArgument, match="POLLIN"):
        loopback.poll(1 << 12)


def test_fileno_works_with_an_event_loop(line: Line) -> None:
    poll = select.poll()
    poll.register(line.device, select.POLLIN)
    assert poll.poll(0) == []
    line.send(b"x")
    assert poll.poll(1000) == [(line.device.fileno(), select.POLLIN)]


def test_what_a_device_cannot_do_is_unsupported(loopback: hal.Device) -> None:
    with pytest.raises(hal.Unsupported, match="transfer"):
        loopback.transfer([hal.Segment(tx=b"x")])
    with pytest.raises(hal.Unsupported, match="control"):
        loopback.control(1)


# ---- buffers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "buffer",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"0123456789")[1:9],
        array.array("h", [1, 2, 3, 4]),
        np.arange(8, dtype=np.uint8),
        np.arange(4, dtype=np.float16).reshape(2, 2),
        np.zeros((), dtype=np.complex64),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_contiguous_buffer_is_written(loopback: hal.Device, buffer: Any) -> None:
    assert loopback.write(buffer) == 8
    assert loopback.read_exact(8) == bytes(memoryview(buffer).cast("B"))


def test_a_numpy_array_is_filled_in_place(loopback: hal.Device) -> None:
    samples: Any = np.zeros(4, dtype=">u2")
    loopback.write(bytes([0, 1, 0, 2, 0, 3, 0, 4]))
    assert loopback.read_into(samples) == 8
    assert samples.tolist() == [1, 2, 3, 4]
    loopback.write(b"\xff")
    assert loopback.read_into(memoryview(samples)[2:], timeout=1) == 1
    assert samples[2] == 0xFF03


def test_a_buffer_with_gaps_is_refused(loopback: hal.Device) -> None:
    gaps = np.zeros(8, dtype=np.uint8)[::2]
    with pytest.raises(BufferError, match=r"write needs a C-contiguous buffer; this 'numpy\.ndarr"):
        loopback.write(gaps)
    with pytest.raises(BufferError, match="read_into needs a writable, C-contiguous"):
        loopback.read_into(gaps)


@pytest.mark.parametrize("buffer", [b"bytes", memoryview(b"view"), np.frombuffer(b"array", "u1")])
def test_read_into_refuses_what_cannot_be_written(loopback: hal.Device, buffer: Any) -> None:
    loopback.write(b"kept")
    with pytest.raises(BufferError, match="read_into needs a writable, C-contiguous buffer"):
        loopback.read_into(buffer)
    assert loopback.read() == b"kept"


@pytest.mark.parametrize("thing", ["text", 5, None, [1, 2]])
def test_what_has_no_bytes_is_refused(loopback: hal.Device, thing: Any) -> None:
    with pytest.raises(TypeError, match="write needs a bytes-like object"):
        loopback.write(thing)


def test_text_is_told_what_to_do(loopback: hal.Device) -> None:
    with pytest.raises(TypeError, match="encode the text first"):
        loopback.write("text")  # type: ignore[arg-type]


def test_a_buffer_is_held_during_the_call(line: Line, background: Background) -> None:
    buffer = bytearray(8)
    task = background(lambda: line.device.read_into(buffer, timeout=5))
    with pytest.raises(BufferError):
        buffer.extend(b"x")  # would move the memory the kernel writes to
    line.send(b"now")
    assert task.result() == 3
    buffer.extend(b"x")
    assert buffer[:3] == b"now"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.read(-1), "n must be 0 or more"),
        (lambda d: d.read_exact(-5), "n must be 0 or more"),
        (lambda d: d.readline(-1), "size must be 0 or more"),
    ],
)
def test_negative_lengths_are_refused(
    loopback: hal.Device, call: Callable[[hal.Device], object], message: str
) -> None:
    with pytest.raises(hal.InvalidArgument, match=message):
        call(loopback)


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.write(),
        lambda d: d.write(b"", 1, 2),
        lambda d: d.write(b"", tiemout=1),
        lambda d: d.write(b"", buffer=b""),
        lambda d: d.read_exact(),
        lambda d: d.read("5"),
        lambda d: d.read(1.5),
        lambda d: d.read(1 << 80),
        lambda d: d.poll("in"),
    ],
)
def test_wrong_arguments(loopback: hal.Device, call: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        call(loopback)


# ---- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.05, np.float32(0.05), np.float64(0.05)])
@pytest.mark.parametrize(
    "call",
    [
        lambda d, t: d.read(timeout=t),
        lambda d, t: d.read_into(bytearray(4), t),
        lambda d, t: d.read_exact(4, t),
        lambda d, t: d.read_until(b";", timeout=t),
        lambda d, t: d.readline(timeout=t),
        lambda d, t: d.poll(timeout=t),
        lambda d, t: d.readv([bytearray(4)], t),
    ],
    ids=["read", "read_into", "read_exact", "read_until", "readline", "poll", "readv"],
)
def test_a_call_gives_up_at_its_deadline(
    loopback: hal.Device, call: Callable[[hal.Device, Any], object], timeout: Any
) -> None:
    begin = time.monotonic()
    with pytest.raises(hal.Timeout, match=r"loopback.*timed out"):
        call(loopback, timeout)
    assert 0.049 < time.monotonic() - begin < 1


def test_writing_gives_up_too_and_says_how_far_it_came(loopback: hal.Device) -> None:
    capacity = loopback.attributes["capacity"]
    assert isinstance(capacity, int)
    assert loopback.write(b"x" * (capacity + 100), timeout=0.05) == capacity
    with pytest.raises(hal.Timeout):
        loopback.write(b"y", timeout=0.05)
    with pytest.raises(hal.WouldBlock):
        loopback.write(b"y", timeout=0)


def test_the_device_has_a_timeout_for_all_calls(loopback: hal.Device) -> None:
    assert loopback.timeout is None
    loopback.timeout = 0.02
    assert loopback.timeout == 0.02
    with pytest.raises(hal.Timeout):
        loopback.read()
    with pytest.raises(hal.Timeout):
        loopback.read(timeout=...)  # the same
    loopback.timeout = 0
    with pytest.raises(hal.WouldBlock):
        loopback.read()
    loopback.timeout = math.inf
    assert loopback.timeout is None


@pytest.mark.parametrize("wrong", [math.nan, -1, -0.001, -math.inf])
def test_a_timeout_out_of_range_is_refused(loopback: hal.Device, wrong: float) -> None:
    for call in (
        lambda: loopback.read(timeout=wrong),
        lambda: setattr(loopback, "timeout", wrong),
        lambda: hal.open("loopback:", timeout=wrong),
    ):
        with pytest.raises(hal.InvalidArgument, match="timeout must be 0 or more seconds"):
            call()


def test_a_timeout_of_the_wrong_type_is_refused(loopback: hal.Device) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        loopback.read(timeout="1")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [1e-12, 1e12, math.inf, None])
def test_extreme_timeouts(loopback: hal.Device, timeout: float | None) -> None:
    loopback.write(b"x")
    assert loopback.read(timeout=timeout) == b"x"


def test_a_timeout_loses_nothing(line: Line) -> None:
    line.send(b"half a l")
    with pytest.raises(hal.Timeout):
        line.device.readline(timeout=0.05)
    with pytest.raises(hal.Timeout):
        line.device.read_exact(100, timeout=0.05)
    line.send(b"ine\nand")
    assert line.device.readline(timeout=5) == b"half a line\n"
    assert line.device.read_exact(3, timeout=5) == b"and"


chunks = st.lists(st.binary(max_size=300), max_size=12)
ways = st.lists(
    st.sampled_from(["read", "read_into", "read_exact", "read_until", "readline"]),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(
    chunks=chunks, ways=ways, size=st.integers(1, 200), delimiter=st.binary(min_size=1, max_size=3)
)
def test_any_chunks_come_out_the_same_by_any_mix_of_reads(
    chunks: list[bytes], ways: list[str], size: int, delimiter: bytes
) -> None:
    with hal.open("loopback:") as device:
        out = b""
        for chunk in chunks:
            device.write(chunk)
            for way in ways:
                out += take(device, way, size, delimiter)
        sent = b"".join(chunks)
        out += device.read_exact(len(sent) - len(out), timeout=5)
        assert out == sent
        with pytest.raises(hal.WouldBlock):
            device.read(timeout=0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chunks=chunks, ways=ways, size=st.integers(1, 200))
def test_any_chunks_pass_a_serial_line(
    line: Line, chunks: list[bytes], ways: list[str], size: int
) -> None:
    out = b""
    for chunk in chunks:
        line.send(chunk)
        for way in ways:
            out += take(line.device, way, size, b"\r\n")
    sent = b"".join(chunks)
    assert out + line.device.read_exact(len(sent) - len(out), timeout=5) == sent


def take(device: hal.Device, way: str, size: int, delimiter: bytes) -> bytes:
    """One read that may give up."""
    with contextlib.suppress(hal.WouldBlock, hal.Timeout, hal.InvalidArgument):
        match way:
            case "read":
                return device.read(size, timeout=0)
            case "read_exact":
                return device.read_exact(size, timeout=1e-6)
            case "read_until":
                return device.read_until(delimiter, size + len(delimiter), timeout=0)
            case "readline":
                return device.readline(size + 1, timeout=0)
            case "read_into":
                buffer = bytearray(size)
                return bytes(buffer[: device.read_into(buffer, timeout=0)])
    return b""


# ---- cancel, unplug, close ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.read(),
        lambda d: d.read_exact(10),
        lambda d: d.readline(),
        lambda d: d.poll(),
        lambda d: d.write(b"x" * 2_000_000) and d.write(b"x"),
    ],
    ids=["read", "read_exact", "readline", "poll", "write"],
)
@pytest.mark.parametrize("end", ["cancel", "close"])
def test_cancel_and_close_end_a_wait(
    call: Callable[[hal.Device], object], end: str, background: Background
) -> None:
    with hal.open("loopback:") as device:
        task = background(lambda: call(device))
        if task.thread.is_alive() and device.attributes["waiting"]:
            device.cancel()  # the first write returns what it had written, the second one waits
            time.sleep(0.05)
        begin = time.monotonic()
        getattr(device, end)()
        with pytest.raises(hal.Cancelled):
            task.result()
        assert task.ended - begin < 0.5
        assert device.closed == (end == "close")


def test_a_cancel_is_forgotten_by_later_calls(loopback: hal.Device) -> None:
    loopback.cancel()
    loopback.write(b"x")
    assert loopback.read(timeout=1) == b"x"


def test_unplugging_ends_a_read(line: Line, background: Background) -> None:
    task = background(line.device.read)
    begin = time.monotonic()
    line.unplug()
    with pytest.raises(hal.Unplugged, match=line.path):
        task.result()
    assert task.ended - begin < 0.5
    with pytest.raises(hal.Unplugged):
        line.device.write(b"x")


def test_a_second_opener_is_told_who_holds_it(line: Line) -> None:
    with pytest.raises(hal.Busy, match=rf"pid {os.getpid()} \(") as caught:
        hal.open(f"uart:{line.path}")
    assert caught.value.errno == 16


def test_a_closed_device_says_so(loopback: hal.Device) -> None:
    loopback.close()
    loopback.close()
    assert loopback.closed
    assert repr(loopback) == '<hal.Device "loopback:" closed>'
    assert (loopback.uri, loopback.driver) == ("loopback:", "loopback")
    for call in (
        loopback.read,
        loopback.readline,
        loopback.poll,
        loopback.fileno,
        loopback.cancel,
        loopback.describe,
        lambda: loopback.pending,
        lambda: loopback.write(b""),
        lambda: loopback.read_into(bytearray(1)),
        lambda: loopback.read_exact(1),
        lambda: loopback.transfer([hal.Segment(tx=b"x")]),
        lambda: loopback.control(1),
        lambda: loopback.readv([bytearray(1)]),
        lambda: loopback.writev([b"x"]),
        lambda: list(loopback.attributes),
        lambda: loopback.attributes["waiting"],
    ):
        with pytest.raises(hal.Closed, match='"loopback:": the device is closed'):
            call()


def test_with_closes_also_after_an_error() -> None:
    with pytest.raises(KeyError), hal.open("loopback:") as device:
        raise KeyError
    assert device.closed


def test_repr_says_what_and_where(line: Line) -> None:
    assert repr(line.device) == f'<hal.Uart "uart:{line.path}" open>'


def test_a_forgotten_device_is_closed_with_a_warning() -> None:
    devices = [hal.open("loopback:")]
    fd = devices[0].fileno()
    with pytest.warns(ResourceWarning, match='unclosed device "loopback:"'):
        devices.clear()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_devices_are_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"hal\.open"):
        hal.Device()
    with pytest.raises(TypeError):
        hal.Uart("uart:/dev/ttyS0")  # type: ignore[call-arg]


def test_a_face_can_be_asked_for(line: Line) -> None:
    with pytest.raises(hal.InvalidArgument, match='driver "loopback" makes a Device, not a Uart'):
        hal.Uart.open("loopback:")
    with hal.Device.open("loopback:") as device:
        assert type(device) is hal.Device


def test_a_device_costs_little_memory(loopback: hal.Device) -> None:
    assert loopback.describe()["memory"] <= 4096


@pytest.mark.filterwarnings(IS_THREADED)
def test_a_thousand_open_and_close_leak_nothing(line: Line) -> None:
    path = line.path
    line.device.close()

    def cycles(n: int) -> None:
        for _ in range(n):
            with hal.open("loopback:") as device:
                device.write(b"a line\n")
                device.readline()
            with hal.open(f"uart:{path}", baud=9600) as device:
                assert device.attributes["baud"] == 9600

    def child() -> None:
        """Where nothing else opens files or takes memory meanwhile."""
        cycles(100)
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        tracemalloc.start()
        cycles(10)
        before, rss = tracemalloc.get_traced_memory()[0], resident()
        cycles(1000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 16 * 1024
        assert resident() - rss < 2 * 1024 * 1024
        assert len(os.listdir("/proc/self/fd")) == descriptors

    assert in_child(child) == ""


def resident() -> int:
    """Resident memory of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


# ---- URIs and options ---------------------------------------------------------------------------


def parse(uri: str) -> tuple[str, str, dict[str, str]]:
    """What libhal makes of a URI."""
    out: Any = ffi.new("struct hal_uri *")
    result = lib.hal_uri_parse(os.fsencode(uri), out)
    if result < 0:
        raise OSError(-result, os.fsdecode(ffi.string(lib.hal_last_error())))
    options = (out.options[i] for i in range(out.option_count))
    return (
        text(out.driver),
        text(out.address),
        {text(option.key): text(option.value) for option in options},
    )


def text(chars: Any) -> str:
    """A C string as Python has it."""
    return os.fsdecode(ffi.string(chars))


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40)
names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,30}", fullmatch=True)


@given(options=st.dictionaries(names, printable, max_size=5), own=st.booleans())
def test_options_survive_quoting(options: dict[str, str], own: bool) -> None:
    base = "uart:/dev/ttyS0?zz=1" if own else "uart:/dev/ttyS0"
    options.pop("zz", None)
    driver, address, found = parse(uri_with_options(base, options))
    assert (driver, address) == ("uart", "/dev/ttyS0")
    assert found == options | ({"zz": "1"} if own else {})


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (5, "5"), (-0.5, "-0.5"), ("a b&c", "a%20b%26c")],
)
def test_options_as_text(value: hal.Value, text: str) -> None:
    assert uri_with_options("x:", {"k": value}) == f"x:?k={text}"


def test_options_reach_the_driver() -> None:
    with hal.open("loopback:", capacity=4096) as device:
        assert device.attributes["capacity"] == 4096
        assert device.uri == "loopback:?capacity=4096"


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60) | st.from_regex(r"\w+:.*(\?(\w+=?[^&]*&?)*)?"))
def test_any_text_is_a_device_or_an_error(text: str) -> None:
    try:
        hal.open(text, timeout=1).close()
    except hal.Error as error:
        assert str(error)  # noqa: PT017 - most texts are errors


@settings(max_examples=300)
@given(st.dictionaries(names, printable, max_size=3))
def test_any_option_is_taken_or_an_error(options: dict[str, Any]) -> None:
    options.pop("timeout", None)
    options.pop("uri", None)
    try:
        hal.open("loopback:", **options).close()
    except (hal.InvalidArgument, hal.PermissionDenied) as error:
        assert any(name in str(error) for name in options)  # noqa: PT017


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("", hal.NotFound, "empty"),
        ("nosuchdriver:", hal.NotFound, "nosuchdriver"),
        ("loopback:\0", hal.InvalidArgument, "NUL"),
        ("loopback:?capacity=1&capacity=2", hal.InvalidArgument, "capacity"),
        ("loopback:?capcity=1", hal.InvalidArgument, 'did you mean "capacity"'),
        ("loopback:?capacity=-5", hal.InvalidArgument, "capacity"),
        ("uart:/dev/nosuchtty", hal.NotFound, "/dev/nosuchtty"),
        ("x" * 2000, hal.InvalidArgument, "long"),
    ],
)
def test_what_cannot_be_opened_says_why(uri: str, error: type[hal.Error], message: str) -> None:
    with pytest.raises(error, match=message):
        hal.open(uri)


def test_a_uri_is_text() -> None:
    with pytest.raises(TypeError, match="a URI is a str, not bytes"):
        hal.open(b"loopback:")  # type: ignore[arg-type]


# ---- the registry -------------------------------------------------------------------------------


def test_drivers_are_listed() -> None:
    hal.open("loopback:").close()
    found = {driver.name: driver for driver in hal.drivers()}
    assert found["loopback"].state == "registered"
    assert found["loopback"].path is not None
    assert found["loopback"].path.startswith(hal.driver_dir())
    assert [attribute.name for attribute in found["loopback"].attributes][:1] == ["capacity"]
    assert found["uart"].state in {"registered", "loadable"}


def test_a_broken_plug_in_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.so").write_bytes(b"this is no shared object")
    monkeypatch.setenv("HAL_DRIVER_PATH", str(tmp_path))
    assert hal.load_drivers() >= 1
    broken = next(driver for driver in hal.drivers() if driver.name == "broken")
    assert (broken.state, broken.path) == ("refused", str(tmp_path / "broken.so"))
    assert broken.reason
    with pytest.raises(hal.Error, match=str(tmp_path)):
        hal.load_driver(tmp_path / "broken.so")
    with pytest.raises(hal.NotFound):
        hal.load_driver(tmp_path / "absent.so")


def test_logical_names() -> None:
    hal.bind("console", "loopback:?capacity=8192")
    try:
        assert hal.bindings()["console"] == "loopback:?capacity=8192"
        with hal.open("console") as device, hal.open("console", capacity=4096) as smaller:
            assert device.uri == "loopback:?capacity=8192"
            assert smaller.attributes["capacity"] == 4096
        with pytest.raises(hal.Error, match="console"):
            hal.bind("console", "loopback:")
    finally:
        hal.unbind("console")
    assert "console" not in hal.bindings()
    with pytest.raises(hal.NotFound):
        hal.unbind("console")


def test_versions() -> None:
    assert hal.__version__ == hal.version()


def test_no_warning_at_import() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hal.Driver is not None
        with pytest.raises(AttributeError):
            _ = hal.nosuch  # type: ignore[attr-defined]
