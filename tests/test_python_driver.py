# SPDX-License-Identifier: Apache-2.0
"""Drivers written in Python, opened by Python and by C."""

from __future__ import annotations

import errno
import gc
import logging
import math
import os
import select
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal
from hal._abi import ffi, lib
from tests.conftest import Task

Background = Callable[[Callable[[], object]], Task]

FIXTURES = Path(__file__).parent / "fixtures"
NATIVE = Path(hal.__file__).parent / "_native"
RW = hal.Access.READ | hal.Access.WRITE


class Echo(hal.Driver):
    """What is written can be read back. It stands on no descriptor, but on wake()."""

    summary = "an echo"
    address = "NAME"
    attributes: Sequence[hal.Attribute] = (
        hal.Attribute("held", int),
        hal.Attribute("limit", int, RW | hal.Access.OPEN),
    )
    limit = 1 << 20

    def init(self, device: hal.DriverDevice) -> None:
        super().init(device)
        self.bytes = bytearray()

    @property
    def held(self) -> int:
        return len(self.bytes)

    def read(self, n: int, deadline: float) -> bytes | None:
        data = bytes(self.bytes[:n])
        del self.bytes[:n]
        if data:
            self.device.wake(select.POLLOUT)
        return data or None

    def write(self, data: memoryview, deadline: float) -> int | None:
        part = data[: self.limit - len(self.bytes)]
        self.bytes += part
        taken = len(part)
        part.release()
        self.device.wake(select.POLLIN)
        return taken or None

    def poll(self, events: int) -> int:
        ready = select.POLLIN if self.bytes else 0
        return events & (ready | (select.POLLOUT if len(self.bytes) < self.limit else 0))


@pytest.fixture
def register() -> Iterator[Callable[[type[Any]], str]]:
    """Register a class under a name of its own, until the end of the test."""
    names: list[str] = []

    def enlist(cls: type[Any]) -> str:
        name = f"py{len(names)}.{cls.__name__.lower()}"
        hal.register_driver(name, cls)
        names.append(name)
        return name

    yield enlist
    gc.collect()
    for name in names:
        hal.unregister_driver(name)


Register = Callable[[type[Any]], str]


# ---- as any other driver ------------------------------------------------------------------------


def test_python_opens_it(register: Register) -> None:
    name = register(Echo)
    with hal.open(f"{name}:somewhere", limit=8) as device:
        assert repr(device) == f'<hal.Device "{name}:somewhere?limit=8" open>'
        assert device.write(b"one\ntwo") == 7
        assert device.attributes["held"] == 7
        assert device.readline() == b"one\n"
        assert device.read_exact(3, timeout=1) == b"two"
        assert device.poll(select.POLLOUT) == select.POLLOUT
        assert device.attributes["limit"] == 8
        with pytest.raises(hal.Timeout):
            device.read(timeout=0.02)
        with pytest.raises(hal.Timeout):
            device.poll(timeout=0.02)
        assert device.write(b"x" * 10, timeout=0.02) == 8


def test_it_is_listed(register: Register) -> None:
    name = register(Echo)
    with hal.open(f"{name}:"):
        found = next(driver for driver in hal.drivers() if driver.name == name)
    assert (found.state, found.path, found.summary, found.address) == (
        "registered",
        None,
        "an echo",
        "NAME",
    )
    assert found.attributes == Echo.attributes
    assert found.open == 1


def test_waits_end_by_wake_cancel_and_close(register: Register, background: Background) -> None:
    with hal.open(f"{register(Echo)}:") as device:
        task = background(device.read)
        device.write(b"woken")
        assert task.result() == b"woken"
        for end in (device.cancel, device.close):
            task = background(device.read)
            end()
            with pytest.raises(hal.Cancelled):
                task.result()


def test_the_raw_abi_opens_it(register: Register) -> None:
    name = register(Echo)
    handle = lib.hal_open(f"{name}:".encode(), lib.HAL_FOREVER)
    assert handle > 0
    assert lib.hal_write(handle, b"raw", 3, lib.HAL_FOREVER) == 3
    room = ffi.new("char[8]")
    assert lib.hal_read(handle, room, 8, lib.hal_after_ms(1000)) == 3
    assert ffi.string(room) == b"raw"
    assert lib.hal_close(handle) == 0
    assert lib.hal_close(handle) == -errno.EBADF


def compile_c(source: str, output: Path, *flags: str) -> Path:
    """Compile a fixture against the libhal that this Python uses."""
    library = NATIVE / "lib"
    subprocess.run(
        [
            *("cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"),
            *("-I", str(NATIVE / "include"), str(FIXTURES / source), "-o", str(output), *flags),
            *(str(library / "libhal.so.1"), f"-Wl,-rpath,{library}", "-pthread"),
        ],
        check=True,
    )
    return output


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[int, str, str]]:
    """Open, write and read in a thread that C made."""
    library = compile_c(
        "python_caller.c", tmp_path_factory.mktemp("c") / "caller.so", "-shared", "-fPIC"
    )
    helper = FFI()
    helper.cdef("long foreign_exchange(char *, char *, char *, size_t, char *, size_t);")
    caller: Any = helper.dlopen(str(library))

    def exchange(uri: str, sent: str) -> tuple[int, str, str]:
        received, message = helper.new("char[256]"), helper.new("char[1024]")
        result = caller.foreign_exchange(uri.encode(), sent.encode(), received, 256, message, 1024)
        return result, os.fsdecode(helper.string(received)), os.fsdecode(helper.string(message))

    return exchange


def test_a_thread_of_c_opens_it(
    register: Register, foreign: Callable[[str, str], tuple[int, str, str]]
) -> None:
    name = register(Echo)
    assert foreign(f"{name}:", "from C") == (6, "from C", "")
    with pytest.raises(hal.NotFound):
        hal.unregister_driver("nosuch")


def test_c_gets_the_text_of_an_exception(
    register: Register,
    foreign: Callable[[str, str], tuple[int, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Sour(Echo):
        def write(self, data: memoryview, deadline: float) -> int:
            raise LookupError(f"no room for {bytes(data)!r}")

    name = register(Sour)
    with caplog.at_level(logging.DEBUG, "hal.driver"):
        result, _, message = foreign(f"{name}:", "sugar")
    assert result == -errno.EIO
    assert message == f"write \"{name}:\": LookupError: no room for b'sugar'"
    assert caplog.records[0].exc_info is not None
    assert "LookupError" in str(caplog.records[0].exc_info[1].__class__)


def test_a_c_program_that_embeds_python(tmp_path: Path) -> None:
    config = sysconfig.get_config_var
    if not config("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared library to embed")
    program = compile_c(
        "python_embed.c",
        tmp_path / "embed",
        *("-I", sysconfig.get_path("include")),
        *("-L", config("LIBDIR"), f"-Wl,-rpath,{config('LIBDIR')}"),
        f"-lpython{config('LDVERSION')}",
        "-Wl,-rpath-link," + config("LIBDIR"),
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    ended = "its driver was written in Python, and the interpreter has ended"
    assert done.stdout.splitlines() == [
        "read hello",
        "fini",
        f'unplugged read "embedded:": {ended}',
        "close 0",
        f'unplugged open "embedded:": {ended}',
    ]


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "cls", "number", "text"),
    [
        (ValueError("so"), hal.Error, errno.EIO, "ValueError: so"),
        (OSError(errno.ENXIO, "gone"), hal.Unplugged, errno.ENXIO, "gone"),
        (hal.Busy("calibrating"), hal.Busy, errno.EBUSY, "Busy: calibrating"),
        (hal.ProtocolError(errno.EILSEQ, "odd"), hal.ProtocolError, errno.EILSEQ, "odd"),
        (PermissionError(errno.EPERM, "no"), hal.PermissionDenied, errno.EPERM, "no"),
        (Exception("nul \0, brace {}, percent %s"), hal.Error, errno.EIO, r"nul \\0, .* %s"),
        (Exception("long " * 1000), hal.Error, errno.EIO, r"\.\.\.$"),
        (SystemExit(3), hal.Error, errno.EIO, "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_exception_is_the_callers_error(
    register: Register, raised: BaseException, cls: type[hal.Error], number: int, text: str
) -> None:
    class Raising(Echo):
        attributes = (hal.Attribute("value", int, RW),)

        def init(self, device: hal.DriverDevice) -> None:
            super().init(device)
            if device.address == "init":
                raise raised

        def fail(self, *_: Any) -> Any:
            raise raised

        value = property(fail, fail)

    for method in ("read", "write", "transfer", "control", "poll"):
        setattr(Raising, method, Raising.fail)

    name = register(Raising)
    with hal.open(f"{name}:") as device:
        calls: dict[str, Callable[[], object]] = {
            "open": lambda: hal.open(f"{name}:init"),
            "read": device.read,
            "write": lambda: device.write(b"x"),
            "transfer": lambda: device.transfer([hal.Segment(tx=b"x")]),
            "control": lambda: device.control(1),
            "poll": device.poll,
            "get value": lambda: device.attributes["value"],
            "set value": lambda: device.attributes.__setitem__("value", 1),
        }
        for operation, call in calls.items():
            with pytest.raises(cls, match=text) as caught:
                call()
            assert type(caught.value) is cls
            assert caught.value.errno == number
            assert str(caught.value).startswith(f'{operation} "{name}:')
            assert caught.value.__cause__ is raised
            assert caught.value.__cause__.__traceback__ is not None


def test_a_cause_belongs_to_its_own_error_only(register: Register, loopback: hal.Device) -> None:
    class Sour(Echo):
        def read(self, n: int, deadline: float) -> bytes:
            raise OSError(errno.ETIMEDOUT, "late")

    handle = lib.hal_open(f"{register(Sour)}:".encode(), lib.HAL_FOREVER)
    assert lib.hal_read(handle, ffi.new("char[1]"), 1, lib.HAL_FOREVER) == -errno.ETIMEDOUT
    lib.hal_close(handle)
    with pytest.raises(hal.Timeout) as caught:
        loopback.read(timeout=0.01)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("method", "value", "text"),
    [
        ("read", b"x" * 5, "5 bytes; 4 were asked for"),
        ("read", "text", "TypeError"),
        ("read", 3, "TypeError"),
        ("write", -1, "-1, which is no count"),
        ("write", 0, "0 of 4 bytes"),
        ("write", 5, "5 of 4 bytes"),
        ("write", "all", "'all', which is no count"),
        ("control", -5, "no count"),
        ("transfer", b"", "no count"),
    ],
)
def test_a_wrong_answer_of_a_driver_is_an_error(
    register: Register, method: str, value: Any, text: str
) -> None:
    wrong = type("Wrong", (Echo,), {method: lambda *_: value})
    with hal.open(f"{register(wrong)}:") as device:
        call: dict[str, Callable[[], object]] = {
            "read": lambda: device.read(4),
            "write": lambda: device.write(b"four"),
            "control": lambda: device.control(1),
            "transfer": lambda: device.transfer([hal.Segment(rx=1)]),
        }
        with pytest.raises(hal.Error, match=text):
            call[method]()


def test_what_is_not_there_is_unsupported(register: Register) -> None:
    with hal.open(f"{register(hal.Driver)}:") as device:
        for call in (
            device.read,
            lambda: device.write(b"x"),
            lambda: device.transfer([hal.Segment(tx=b"x")]),
            lambda: device.control(1),
            device.poll,
            device.fileno,
        ):
            with pytest.raises(hal.Unsupported):
                call()


# ---- what a driver may use ----------------------------------------------------------------------


def test_any_class_will_do(register: Register) -> None:
    class Bare:
        def init(self, device: hal.DriverDevice) -> None:
            self.address = device.address.encode()

        def read(self, n: int, deadline: float) -> bytearray:
            return bytearray(self.address[:n])

        def write(self, data: memoryview, deadline: float) -> int:
            return len(data)

    with hal.open(f"{register(Bare)}:a%20place") as device:
        assert device.read() == b"a place"


@pytest.mark.parametrize("missing", ["init", "read", "write"])
def test_a_class_without_a_method_is_refused(missing: str) -> None:
    methods = {name: lambda *_: None for name in ("init", "read", "write") if name != missing}
    with pytest.raises(hal.InvalidArgument, match=f"class Half has no {missing}"):
        hal.register_driver("half", type("Half", (), methods))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", hal.NotFound),
        ("x" * 32, hal.InvalidArgument),
        ("a b", hal.InvalidArgument),
        ("-a", hal.InvalidArgument),
        ("loopback", hal.Error),
    ],
)
def test_wrong_names_are_refused(name: str, error: type[hal.Error], loopback: hal.Device) -> None:
    with pytest.raises(error):
        hal.register_driver(name, Echo)
    hal.register_driver("x" * 31, Echo)
    hal.unregister_driver("x" * 31)


def test_a_wrong_attribute_is_refused() -> None:
    class Wrong(Echo):
        attributes = (hal.Attribute("no name", int),)

    with pytest.raises(hal.InvalidArgument, match="attribute 0"):
        hal.register_driver("wrong", Wrong)


def test_what_it_fits(register: Register) -> None:
    """A table of matches is the class's, shown as it is, and judged when it is registered."""
    rows = (hal.Match("subsystem:i2c of:atmel,24c*", "{bus}/{address}", "EEPROMs"),)

    class Fitting(Echo):
        matches = rows

    name = register(Fitting)
    found = {driver.name: driver for driver in hal.drivers()}
    assert found[name].matches == rows
    assert found["loopback"].matches == ()

    class Wrong(Echo):
        matches = (*rows, hal.Match("tty", "{node}"))

    with pytest.raises(hal.InvalidArgument, match=r'match 1 \("tty"\): fits is made of words'):
        hal.register_driver("wrong", Wrong)


def test_a_driver_in_use_stays(register: Register) -> None:
    name = register(Echo)
    with hal.open(f"{name}:"):
        with pytest.raises(hal.Busy, match="1 of its devices"):
            hal.unregister_driver(name)
        with pytest.raises(hal.Error) as caught:
            hal.register_driver(name, Echo)
        assert caught.value.errno == errno.EEXIST


def test_deadlines_are_of_the_monotonic_clock(register: Register) -> None:
    seen: list[float] = []

    class Clock(Echo):
        def init(self, device: hal.DriverDevice) -> None:
            super().init(device)
            seen.append(device.deadline)

        def read(self, n: int, deadline: float) -> bytes:
            seen.append(deadline)
            return b"x"

    name = register(Clock)
    with hal.open(f"{name}:", timeout=50) as device:
        device.read()
        device.read(timeout=0)
        device.read(timeout=100)
    now = time.monotonic()
    assert seen[1:3] == [math.inf, 0]
    assert 49 < seen[0] - now < 51
    assert 99 < seen[3] - now < 101


def test_options(register: Register) -> None:
    seen: dict[str, Any] = {}

    class Curious(Echo):
        any_option = True
        attributes = (
            hal.Attribute("size", int, hal.Access.OPEN, initial="7"),
            hal.Attribute("name", str, hal.Access.OPEN),
            hal.Attribute("ratio", float, hal.Access.OPEN),
            hal.Attribute("on", bool, hal.Access.OPEN),
        )

        def init(self, device: hal.DriverDevice) -> None:
            super().init(device)
            seen.update((name, device.option(name)) for name in ("size", "name", "ratio", "on"))
            seen["all"] = device.options

        def read(self, n: int, deadline: float) -> bytes:
            return str(self.device.option("size")).encode()

    with hal.open(f"{register(Curious)}:", ratio=0.5, on=True, extra="a&b") as device:
        assert seen == {
            "size": 7,
            "name": None,
            "ratio": 0.5,
            "on": True,
            "all": {"ratio": "0.5", "on": "true", "extra": "a&b"},
        }
        with pytest.raises(hal.InvalidArgument, match="only init"):
            device.read()


def test_a_driver_on_a_descriptor(register: Register, background: Background) -> None:
    far: list[socket.socket] = []

    class Socket(hal.Driver):
        def init(self, device: hal.DriverDevice) -> None:
            near, other = socket.socketpair()
            far.append(other)
            self.fd = near.detach()
            device.set_fd(self.fd)

        def read(self, n: int, deadline: float) -> bytes:
            return os.read(self.fd, n)

        def write(self, data: memoryview, deadline: float) -> int:
            return os.write(self.fd, data)

    with hal.open(f"{register(Socket)}:") as device:
        descriptor = device.fileno()
        task = background(device.readline)
        far[0].sendall(b"line\n")
        assert task.result() == b"line\n"
        assert device.write(b"x" * 5_000_000, timeout=0.02) < 5_000_000
        far[0].close()
        with pytest.raises((hal.Error, ConnectionError)):
            device.write(b"x")
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_a_driver_that_waits_itself(register: Register, background: Background) -> None:
    class Patient(Echo):
        def read(self, n: int, deadline: float) -> bytes | None:
            while not self.bytes:
                self.device.wait(deadline)
            return super().read(n, deadline)

    with hal.open(f"{register(Patient)}:") as device:
        task = background(device.read)
        device.write(b"x")
        assert task.result() == b"x"
        with pytest.raises(hal.Timeout):
            device.read(timeout=0.05)
        with pytest.raises(hal.WouldBlock):
            device.read(timeout=0)
        task = background(device.read)
        device.cancel()
        with pytest.raises(hal.Cancelled):
            task.result()


def test_a_driver_with_a_thread_of_its_own(register: Register) -> None:
    class Ticking(Echo):
        def init(self, device: hal.DriverDevice) -> None:
            super().init(device)
            self.stop = threading.Event()
            self.thread = threading.Thread(target=self.tick)
            self.thread.start()

        def tick(self) -> None:
            while not self.stop.wait(0.001):
                self.bytes += b"tick\n"
                self.device.wake(select.POLLIN)

        def fini(self) -> None:
            self.stop.set()
            self.thread.join()
            ended.append(self)

    ended: list[Ticking] = []
    with hal.open(f"{register(Ticking)}:") as device:
        assert [next(device) for _ in range(20)] == [b"tick\n"] * 20
    ended[0].device.wake(select.POLLIN)  # after the end it does nothing


def test_transfers_and_requests(register: Register) -> None:
    class Bus(hal.Driver):
        def transfer(self, segments: list[hal.Segment], deadline: float) -> None:
            for segment in segments:
                if segment.tx is not None:
                    assert isinstance(segment.tx, memoryview)
                    segment = segment._replace(tx=bytes(segment.tx))  # noqa: PLW2901
                seen.append(segment._replace(rx=None))
                if segment.rx is not None:
                    assert isinstance(segment.rx, memoryview)
                    segment.rx[:] = bytes(range(len(segment.rx)))

        def control(self, request: int, buffer: memoryview, deadline: float) -> int:
            if request != 7:
                raise hal.Unsupported("unknown")
            buffer[:] = bytes(buffer)[::-1]
            return len(buffer)

    seen: list[hal.Segment] = []
    room = bytearray(3)
    with hal.open(f"{register(Bus)}:") as device:
        got = device.transfer(
            [
                hal.Segment(tx=b"\x10", address=0x50, flags=device.NO_START),
                hal.Segment(rx=2, speed_hz=400_000, delay_us=5, word_delay_us=6),
                hal.Segment(tx=b"abc", rx=room, bits=16, lanes_tx=2, lanes_rx=4),
                (b"plain", None),
            ]
        )
        assert got == [b"\x00\x01", room]
        assert got[1] is room
        assert room == b"\x00\x01\x02"
        assert seen == [
            hal.Segment(tx=b"\x10", address=0x50, flags=2),
            hal.Segment(speed_hz=400_000, delay_us=5, word_delay_us=6),
            hal.Segment(tx=b"abc", bits=16, lanes_tx=2, lanes_rx=4),
            hal.Segment(tx=b"plain"),
        ]
        buffer = bytearray(b"abc")
        assert device.control(7, buffer) == 3
        assert buffer == b"cba"
        assert device.control(7, b"kept") == 4
        assert device.control(7) == 0
        with pytest.raises(hal.Unsupported):
            device.control(8)


@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        ([], hal.InvalidArgument, "0 segments"),
        ([hal.Segment(tx=b"x")] * 1025, hal.InvalidArgument, "1025 segments"),
        ([hal.Segment(tx=b"abc", rx=2)], hal.InvalidArgument, "tx has 3 bytes, rx 2"),
        ([hal.Segment(rx=-1)], hal.InvalidArgument, "negative"),
        ([hal.Segment(tx=b"", bits=256)], hal.InvalidArgument, r"segment 0: field 6 .* 0\.\.255"),
        ([hal.Segment(tx=b"", address=-1)], hal.InvalidArgument, "field 2"),
        ([hal.Segment(rx=b"read-only")], BufferError, "writable"),
        ([("text", None)], TypeError, "encode"),
        (["text"], TypeError, "segment 0 must be a hal.Segment"),
        ([()], TypeError, "segment 0"),
        (5, TypeError, "not iterable"),
    ],
)
def test_wrong_segments_are_refused(
    register: Register, segments: Any, error: type[Exception], message: str
) -> None:
    class Bus(hal.Driver):
        def transfer(self, segments: list[hal.Segment], deadline: float) -> None:
            raise AssertionError("not reached")

    with hal.open(f"{register(Bus)}:") as device, pytest.raises(error, match=message):
        device.transfer(segments)


def test_a_driver_stands_on_another_device(register: Register) -> None:
    class Upper(hal.Driver):
        def init(self, device: hal.DriverDevice) -> None:
            self.lower = hal.open(device.address)

        def read(self, n: int, deadline: float) -> bytes:
            return self.lower.read(n, timeout=0.02).upper()

        def write(self, data: memoryview, deadline: float) -> int:
            return self.lower.write(data)

        def fini(self) -> None:
            self.lower.close()

    with hal.open(f"{register(Upper)}:{register(Echo)}:") as device:
        device.write(b"low")
        assert device.read() == b"LOW"
        with pytest.raises(hal.Timeout, match=r"Timeout: read .* timed out"):
            device.read()


# ---- lifetime -----------------------------------------------------------------------------------


def test_an_instance_lives_as_long_as_its_device(register: Register) -> None:
    instances: weakref.WeakSet[Echo] = weakref.WeakSet()

    class Tracked(Echo):
        def init(self, device: hal.DriverDevice) -> None:
            super().init(device)
            instances.add(self)
            if device.address == "bad":
                raise ValueError("bad")

    name = register(Tracked)
    with hal.open(f"{name}:"), hal.open(f"{name}:"):
        gc.collect()
        assert len(instances) == 2
    with pytest.raises(hal.Error):
        hal.open(f"{name}:bad")
    gc.collect()
    assert len(instances) == 0


def test_data_kept_beyond_a_write_is_unusable(register: Register) -> None:
    class Greedy(Echo):
        def write(self, data: memoryview, deadline: float) -> int:
            kept.append(data)
            return len(data)

    kept: list[memoryview] = []
    with hal.open(f"{register(Greedy)}:") as device:
        device.write(b"x")
        with pytest.raises(ValueError, match="released"):
            bytes(kept[0])


EXIT = """
import hal, sys
class Noisy(hal.Driver):
    def fini(self):
        print("fini", self.device.address, flush=True)
        if self.device.address == "bad":
            raise ValueError("at the end")
hal.register_driver("noisy", Noisy)
from hal._abi import lib
raw = lib.hal_open(b"noisy:raw", lib.HAL_FOREVER)
kept = hal.open("noisy:kept")
bad = hal.open("noisy:bad")
import threading
threading.Thread(target=hal.open("noisy:thread").poll, daemon=True)
"""


def test_the_interpreter_may_end_with_devices_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == [
        "",
        "fini bad",
        "fini kept",
        "fini raw",
        "fini thread",
    ]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chunks=st.lists(st.binary(max_size=100), max_size=10), limit=st.integers(1, 64))
def test_bytes_pass_in_order(register: Register, chunks: list[bytes], limit: int) -> None:
    with hal.open(f"{register(Echo)}:", limit=limit) as device:
        reader = Task(lambda: device.read_exact(sum(map(len, chunks)), timeout=20))
        for chunk in chunks:
            assert device.write(chunk, timeout=20) == len(chunk)
        assert reader.result(30) == b"".join(chunks)
