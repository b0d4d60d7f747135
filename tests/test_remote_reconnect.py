# SPDX-License-Identifier: Apache-2.0
"""A link that is lost: the error, dialling again, what is resumed; nothing is done twice."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator

import pytest

import hal
from hal.batch import Load, Store

from .far import DEVICE, Far, far
from .wire_cut import Wire

__all__ = ["far"]


@pytest.fixture
def wire(far: Far) -> Iterator[Wire]:
    wire = Wire(far.port)
    yield wire
    wire.close()


def uri(wire: Wire, far: Far, device: str, *options: str) -> str:
    own = f"id={DEVICE}&credentials={far.folder}"
    return f"hal://127.0.0.1:{wire.port}/{device}?" + "&".join((own, *options))


def after(seconds: float, call: object) -> threading.Timer:
    assert callable(call)
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_without_reconnect_a_lost_link_is_an_error_of_its_own(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "memory"), timeout=5) as device:
        wire.cut()
        for _ in range(2):
            with pytest.raises(hal.LinkLost, match="the link is lost") as caught:
                device.read_at(1, 0, timeout=5)
            assert caught.value.errno == errno.ENOLINK
        assert isinstance(caught.value, ConnectionError)


def test_a_waiting_reader_is_woken_when_the_link_is_lost(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "echo"), timeout=5) as device:
        after(0.1, wire.cut)
        began = time.monotonic()
        with pytest.raises(hal.LinkLost):
            device.read(1, timeout=5)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("noticed", [False, True])
def test_closing_does_not_wait_for_a_link_that_is_lost(far: Far, wire: Wire, noticed: bool) -> None:
    device = hal.open(uri(wire, far, "memory"), timeout=5)
    wire.cut()
    if noticed:
        with pytest.raises(hal.LinkLost):
            device.read_at(1, 0, timeout=5)
    began = time.monotonic()
    device.close()
    assert time.monotonic() - began < 0.5


def test_calls_go_on_over_the_next_link(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "memory", "reconnect=30"), timeout=5) as device:
        device.write_at(b"before", 0, timeout=5)
        for round_ in range(3):
            wire.cut()
            assert device.read_at(6, 0, timeout=5) == b"before"
            wire.cut()
            device.store(64, round_, 4)
            assert device.load(64, 4) == round_


def test_a_signal_makes_nothing_be_done_twice(far: Far) -> None:
    over, me = threading.Event(), threading.get_ident()

    def disturb() -> None:
        while not over.wait(0.01):
            signal.pthread_kill(me, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    thread = threading.Thread(target=disturb)
    try:
        with hal.open(far.uri("registers"), timeout=5) as device:
            device.attributes["latency"] = 0.05
            thread.start()
            device.store(0, 1)
            assert device.load(0) == 1
            assert device.batch([Store(4, 2), Load(4)], timeout=10) == [None, 2]
            assert device.attributes["ops"] == 4
            device.store(0, 5)
            device.store(0, 5)  # Another call, though the same.
            assert device.attributes["ops"] == 6
        with hal.open(far.uri("sim"), timeout=5) as line:
            line.attributes["latency"] = 0.05
            assert [line.write(b"one", timeout=5) for _ in range(2)] == [3, 3]
            over.set()
            assert line.read_exact(6, timeout=5) == b"oneone"
            with pytest.raises(hal.Timeout):
                line.read(1, timeout=0.1)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("device", ["echo"])
def test_what_was_done_is_not_done_twice(far: Far, wire: Wire, device: str) -> None:
    with hal.open(uri(wire, far, device, "reconnect=30"), timeout=5) as there:
        there.write(b"one", timeout=5)
        assert there.read_exact(3, timeout=5) == b"one"
        wire.deafen()  # The write arrives and is done, its answer does not come back.
        after(0.2, wire.cut)
        assert there.write(b"two", timeout=5) == 3
        with pytest.raises(hal.Error, match="3 bytes were lost") as caught:
            there.read(10, timeout=5)  # It came back while nobody heard.
        assert caught.value.errno == errno.EOVERFLOW
        there.write(b"three", timeout=5)
        assert there.read_exact(5, timeout=5) == b"three"
        with pytest.raises(hal.Timeout):
            there.read(1, timeout=0.1)


def test_bytes_of_before_the_gap_come_before_it_is_told(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "echo", "reconnect=30"), timeout=5) as device:
        device.write(b"kept", timeout=5)
        assert device.read_exact(1, timeout=5) == b"k"
        wire.deafen()
        after(0.1, wire.cut)
        device.write(b"lost", timeout=5)
        assert device.read_exact(3, timeout=5) == b"ept"
        with pytest.raises(hal.Error, match="4 bytes were lost"):
            device.read(1, timeout=5)
        device.write(b"new", timeout=5)
        assert device.read_exact(3, timeout=5) == b"new"


def test_a_waiting_reader_goes_on(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "echo", "reconnect=30"), timeout=5) as device:
        after(0.1, wire.cut)
        after(0.4, lambda: device.write(b"hello", timeout=5))
        assert device.read_exact(5, timeout=5) == b"hello"


def test_many_threads_lose_the_link_at_once(far: Far, wire: Wire) -> None:
    failures: list[BaseException] = []

    def write(device: hal.Device) -> None:
        try:
            for number in range(60):
                assert device.load(0, 4) == 0
                device.write_at(number.to_bytes(4, "little"), 64, timeout=10)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    with hal.open(uri(wire, far, "memory", "reconnect=30"), timeout=5) as device:
        threads = [threading.Thread(target=write, args=(device,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            time.sleep(0.03)
            wire.cut()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_lease_that_is_over_is_taken_anew(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "echo", "reconnect=30"), timeout=5) as device:
        device.write(b"x", timeout=5)
        assert device.read(1, timeout=5) == b"x"
        wire.cut()
        for lease in far.leases.held():
            far.leases.release(lease)
        with pytest.raises(hal.Error, match="how many is not known"):
            device.read(1, timeout=5)
        device.write(b"again", timeout=5)
        assert device.read_exact(5, timeout=5) == b"again"


def test_it_does_not_come_back(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "memory", "reconnect=1"), timeout=5) as device:
        wire.lead(1)  # Nobody listens there.
        wire.cut()
        with pytest.raises(hal.Timeout):
            device.read_at(1, 0, timeout=0.2)
        began = time.monotonic()
        with pytest.raises(hal.LinkLost):
            device.read_at(1, 0, timeout=10)
        assert time.monotonic() - began < 5
        wire.lead(far.port)
        with pytest.raises(hal.LinkLost):  # For good.
            device.read_at(1, 0, timeout=5)


def test_cancel_ends_the_dialling(far: Far, wire: Wire) -> None:
    with hal.open(uri(wire, far, "memory", "reconnect=60"), timeout=5) as device:
        wire.lead(1)
        wire.cut()
        after(0.2, device.cancel)
        with pytest.raises(hal.Cancelled):
            device.read_at(1, 0, timeout=20)
        wire.lead(far.port)
        assert device.read_at(1, 0, timeout=5) == b"\0"
