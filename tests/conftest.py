# SPDX-License-Identifier: Apache-2.0
"""Devices that are there on every machine: a loopback, and a pty as a serial line."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

import hal
from tests import ahead
from tests.native import build_ahead, run
from tests.suites import run_suites_ahead
from tests.tidy import tidy


def pytest_configure() -> None:
    """Let Ctrl-C reach the tests' children also where all of this runs in the background.

    A shell without job control lets its background jobs ignore SIGINT, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


BUILT = ("test_abi.py", "test_aarch64.py", "test_c_suites.py", "test_lint.py")
"""Files of tests that need what is built ahead."""

HERE = ("test_emulated.py", "test_light.py")
"""Files of autoglm's tests that do not run beside: compilers are at work in them, on one processor,
and so they run while others of autoglm's use the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for long work behind the tests beside which that is done."""

    def turn(item: pytest.Item) -> int:
        name, folder = item.path.name, item.path.parent.name
        if folder == "packaging":  # packages are made ahead
            return 1
        if name in BUILT:
            return 2
        if folder == "autoglm":  # models run beside, when what is built ahead is done
            return 3 if name in HERE else 4
        return 0

    items.sort(key=turn)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with the long work that the selected tests need, beside those that come before."""
    if session.config.option.collectonly or os.environ.get("HAL_LAB"):
        return
    builds: dict[str, list[str]] = {}
    for parameters in (i.callspec.params for i in session.items if hasattr(i, "callspec")):
        if "configuration" in parameters:
            names = builds.setdefault(parameters["configuration"], [])
            names += [parameters["suite"]] if "suite" in parameters else []
    if any(item.path.name == "test_aarch64.py" for item in session.items):
        from tests.lab.aarch64.boot import boot_ahead  # in a guest nobody needs it

        boot_ahead()
    if any(item.path.parent.name == "packaging" for item in session.items):
        from tests.packaging.environments import make_ahead

        make_ahead()
    for configuration, names in builds.items():
        build_ahead(configuration)
        if names:
            run_suites_ahead(configuration, names)
    for item in session.items:
        if item.name.startswith("test_clang_tidy["):
            source = item.callspec.params["source"]  # type: ignore[attr-defined]
            ahead.begin(f"tidy {source}", partial(tidy, source))
        elif item.name == "test_mypy":
            ahead.begin("mypy", partial(run, "mypy"))


def pytest_sessionfinish() -> None:
    """Leave no compiler behind."""
    ahead.stop()


@dataclass
class Line:
    """A serial line, and the far end of it."""

    master: int
    path: str
    device: hal.Uart

    def unplug(self) -> None:
        """Take the far end away, as pulling an adapter does."""
        master, self.master = self.master, -1
        os.close(master)

    def send(self, data: bytes) -> None:
        """Write from the far end, all of it."""
        while data:
            data = data[os.write(self.master, data) :]

    def receive(self, n: int) -> bytes:
        """Read at the far end, exactly n bytes."""
        data = b""
        while len(data) < n:
            data += os.read(self.master, n - len(data))
        return data


@pytest.fixture
def line() -> Iterator[Line]:
    """A pty opened by the uart driver."""
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    with hal.Uart.open(f"uart:{path}") as device:
        pair = Line(master, path, device)
        yield pair
    if pair.master >= 0:
        os.close(pair.master)


@pytest.fixture
def loopback() -> Iterator[hal.Device]:
    """What is written can be read back."""
    with hal.open("loopback:") as device:
        yield device


class Task:
    """A call that runs in a thread of its own; ``result`` raises what it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._value: object = None
        self._error: BaseException | None = None
        self.ended = 0.0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error
        self.ended = time.monotonic()

    def result(self, timeout: float = 10) -> object:
        """What the call returned."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the call still waits"
        if self._error is not None:
            raise self._error
        return self._value


@pytest.fixture
def background() -> Callable[[Callable[[], object]], Task]:
    """Start a call in a thread, and give it time to begin to wait."""

    def start(call: Callable[[], object]) -> Task:
        task = Task(call)
        time.sleep(0.05)
        return task

    return start
