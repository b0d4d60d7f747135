# SPDX-License-Identifier: Apache-2.0
"""Devices and fork(2): a child gets an error, never a crash, and never the parent's bytes."""

from __future__ import annotations

import gc
import os
import warnings

import pytest

import hal
from tests.conftest import Line
from tests.forked import IS_THREADED, in_child

pytestmark = pytest.mark.filterwarnings(IS_THREADED)


def test_every_call_in_the_child_says_why(loopback: hal.Device) -> None:
    def child() -> None:
        for call in (
            loopback.read,
            loopback.readline,
            loopback.poll,
            loopback.fileno,
            loopback.cancel,
            loopback.describe,
            lambda: loopback.pending,
            lambda: loopback.write(b"x"),
            lambda: loopback.attributes["waiting"],
            lambda: loopback.transfer([hal.Segment(tx=b"x")]),
        ):
            with pytest.raises(hal.Forked, match="does not survive fork"):
                call()

    assert in_child(child) == ""
    loopback.write(b"the parent goes on")
    assert loopback.read() == b"the parent goes on"


def test_closing_and_forgetting_in_the_child_is_silent(line: Line) -> None:
    devices = [hal.open("loopback:") for _ in range(3)]

    def child() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            devices[0].close()
            with devices[1]:
                pass
            devices.clear()
            gc.collect()
        assert not [warning for warning in caught if warning.category is ResourceWarning]

    assert in_child(child) == ""
    line.send(b"x")
    assert line.device.read(timeout=5) == b"x"
    for device in devices:
        device.close()


def test_the_child_holds_no_descriptor_of_the_parent(loopback: hal.Device) -> None:
    descriptor = loopback.fileno()

    def child() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    assert in_child(child) == ""


def test_the_child_opens_devices_anew(line: Line) -> None:
    line.device.close()

    def child() -> None:
        with hal.open(f"uart:{line.path}") as device:
            device.write(b"from the child")

    assert in_child(child) == ""
    assert line.receive(14) == b"from the child"


def test_a_python_driver_ends_in_its_own_process_only() -> None:
    ended: list[int] = []

    class Counted(hal.Driver):
        def fini(self) -> None:
            ended.append(os.getpid())

    hal.register_driver("counted", Counted)
    device = hal.open("counted:")

    def child() -> None:
        from hal.driver import _stop

        device.close()
        _stop()  # what the interpreter does at its end
        assert ended == []

    assert in_child(child) == ""
    device.close()
    hal.unregister_driver("counted")
    assert ended == [os.getpid()]
