# SPDX-License-Identifier: Apache-2.0
"""Batches over a link: one round trip, equal to the single calls, done once, by rights."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import hal
from hal.batch import Get, Load, Operation, Set, Store, Transfer
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.token import Right

from .far import CONTROLLER, DEVICE, Far, equip, far
from .wire_cut import Wire

__all__ = ["far"]

REGISTER = Transfer([hal.Segment(b"\x10\x01\x02\x03"), hal.Segment(b"\x10"), hal.Segment(None, 3)])
BATCHES: dict[str, list[Operation]] = {
    "registers": [
        Store(0, 0x11223344),
        Load(0),
        Load(1, 1),
        Set("drop", 0.5),
        Get("drop"),
        Load(8),
    ],
    "memory": [Store(8, 7, 8), Load(8, 8), Get("size")],
    "i2c": [REGISTER, Get("ops"), REGISTER],
    "spi": [Transfer([hal.Segment(b"abc", 3)]), Transfer([hal.Segment(bytes(4000), 4000)])],
    "sim": [Set("latency", "1ms"), Get("latency"), Set("drop", 0), Get("drop")],
}
WRONG: dict[str, list[Operation]] = {
    "registers": [Load(4096), Store(4096, 1), Load(0, 3), Load(2), Get("none"), Set("ops", 1),
                  Set("drop", 2), Transfer([hal.Segment(b"x")])],
    "i2c": [Load(0), Transfer([])],
}  # fmt: skip


def requests(far: Far) -> int:
    """What the agent counts, as its metrics tell it."""
    sessions = list(far.agent.sessions)
    return far.agent.requests + sum(session.link.requests for session in sessions)


@pytest.mark.parametrize("name", BATCHES)
def test_as_here_and_in_one_round_trip(far: Far, name: str) -> None:
    here_uri = {"registers": "sim:memory", "memory": "memory:memfd:near?size=64KiB"}
    with (
        hal.open(far.uri(name), timeout=5) as there,
        hal.open(here_uri.get(name, f"sim:{name.replace('sim', 'uart')}")) as here,
    ):
        before = requests(far)
        results = there.batch(BATCHES[name], timeout=5)
        assert requests(far) - before == 1
        assert results == here.batch(BATCHES[name])


@pytest.mark.parametrize(("name", "wrong"), [(n, w) for n, all_ in WRONG.items() for w in all_])
def test_a_failure_there_is_that_of_here(far: Far, name: str, wrong: Operation) -> None:
    with (
        hal.open(far.uri(name), timeout=5) as there,
        hal.open("sim:memory" if name == "registers" else "sim:i2c") as here,
    ):
        raised = []
        for device in (here, there):
            with pytest.raises(hal.Error) as caught:
                device.batch([Get("ops"), wrong, Set("drop", 0.5)], timeout=5)
            assert caught.value.results == [0]
            assert device.attributes["drop"] == 0
            raised.append((type(caught.value), caught.value.errno))
        assert raised[0] == raised[1]


def test_all_256_and_a_frame_that_is_full(far: Far) -> None:
    with hal.open(far.uri("registers"), timeout=5) as device:
        stores: list[Operation] = [Store(4 * i, i) for i in range(128)]
        assert device.batch([*stores, *(Load(4 * i) for i in range(128))], timeout=5)[128:] == list(
            range(128)
        )
    with hal.open(far.uri("spi"), timeout=5) as device:
        most = (1 << 20) - 2 * (8 + 4 + 40) - 4
        halves = [Transfer([hal.Segment(bytes(most // 2))])] * 2
        device.batch(halves, timeout=5)
        before = requests(far)
        for too_much in (
            [*halves, Transfer([hal.Segment(b"x")])],
            [Transfer([hal.Segment(None, (1 << 19) - 8)])] * 2,
            [Transfer([hal.Segment(None, 1 << 21)])],
        ):
            with pytest.raises(hal.InvalidArgument, match="do not fit a frame") as caught:
                device.batch(too_much, timeout=5)
            assert caught.value.errno == errno.EMSGSIZE
            assert caught.value.results is None
        assert requests(far) == before
        with pytest.raises(hal.InvalidArgument) as caught:
            device.transfer([hal.Segment(None, 1 << 20)], timeout=5)
        assert caught.value.errno == errno.EMSGSIZE
        assert device.transfer([hal.Segment(b"ok", 2)], timeout=5) == [b"ok"]


def test_another_link_to_the_device_does_not_come_in_between(far: Far) -> None:
    over = threading.Event()

    def disturb(device: hal.Device) -> None:
        while not over.is_set():
            device.store(0, 1000)

    with (
        hal.open(far.uri("registers"), timeout=5) as mine,
        hal.open(far.uri("registers"), timeout=5) as theirs,
    ):
        thread = threading.Thread(target=disturb, args=(theirs,))
        thread.start()
        try:
            for number in range(100):
                wanted = [value for each in range(8) for value in (None, number + each)]
                operations: list[Operation] = []
                for each in range(8):
                    operations += [Store(0, number + each), Load(0)]
                assert mine.batch(operations, timeout=5) == wanted
        finally:
            over.set()
            thread.join()
        assert mine.load(0) in {1000, 106}  # It is the same memory.
        theirs.store(4, 77)
        assert mine.load(4) == 77


def test_a_token_to_read_does_not_do(far: Far, tmp_path: Path) -> None:
    who = Identity(CONTROLLER, Role.CONTROLLER)
    reader = equip(Authority.load(tmp_path / "ca"), tmp_path / "reader", who, [Right("*", "r")])
    uri = f"hal://127.0.0.1:{far.port}/registers?id={DEVICE}&credentials={reader.folder}"
    with hal.open(uri, timeout=5) as device:
        assert device.batch([Load(0), Get("ops")], timeout=5) == [0, 1]
        for writing in (Store(0, 1), Set("seed", 1), Transfer([hal.Segment(b"x")])):
            with pytest.raises(hal.PermissionDenied, match="does not allow") as caught:
                device.batch([Load(0), writing], timeout=5)
            assert caught.value.results is None
        assert device.batch([Load(0), Get("ops")], timeout=5) == [0, 2]  # Nothing was done.


# ---- a link that is lost -------------------------------------------------------------------------


@pytest.fixture
def wire(far: Far) -> Iterator[Wire]:
    wire = Wire(far.port)
    yield wire
    wire.close()


def through(wire: Wire, far: Far, *options: str) -> str:
    own = (f"id={DEVICE}&credentials={far.folder}", *options)
    return f"hal://127.0.0.1:{wire.port}/registers?" + "&".join(own)


def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_done_twice(
    far: Far, wire: Wire
) -> None:
    with hal.open(through(wire, far, "reconnect=30"), timeout=5) as device:
        device.attributes["latency"] = 0.02
        before = int(device.attributes["ops"])
        wire.deafen()  # The batch arrives and is done, its answer does not come back.
        timer = threading.Timer(0.3, wire.cut)
        timer.start()
        batch: list[Operation] = [Load(0), Store(0, 7), Load(0), Get("ops")]
        assert device.batch(batch, timeout=20) == [0, None, 7, before + 3]
        assert device.attributes["ops"] == before + 3
        timer.join()


def test_cut_in_the_middle_it_goes_on_over_there(far: Far, wire: Wire) -> None:
    with hal.open(through(wire, far, "reconnect=30"), timeout=5) as device:
        device.attributes["latency"] = 0.05
        timer = threading.Timer(0.15, wire.cut)
        timer.start()
        assert device.batch([Store(4 * i, i) for i in range(8)], timeout=20) == [None] * 8
        timer.join()
        assert device.attributes["ops"] == 8


def test_without_reconnect_it_is_not_known(far: Far, wire: Wire) -> None:
    with hal.open(through(wire, far), timeout=5) as device:
        wire.cut()
        with pytest.raises(hal.LinkLost) as caught:
            device.batch([Load(0)], timeout=5)
        assert caught.value.results is None
