# SPDX-License-Identifier: Apache-2.0
"""Who holds which device of an agent: given, refused, kept, resumed, taken over, ended."""

from __future__ import annotations

import errno
import struct
import threading
import time
import uuid

import pytest

import hal
from hal.agent.leases import OVER, TAKEN, Lease, Leases
from hal.agent.peer import Peer
from hal.link import frames
from hal.link.identity import Identity, Role


def somebody(number: int) -> Peer:
    who = Identity(uuid.UUID(int=number), Role.CONTROLLER)
    return Peer(who, "10.0.0.9", f"{number:x}", b"")


ANN, BEN = somebody(1), somebody(2)


class Link:
    """What the extension's link shows of itself; here nobody is at the other end."""

    def __init__(self) -> None:
        self.notices: list[tuple[int, str]] = []
        self.ended = ""
        self.lease: Lease | None = None

    def write(self, kind: int, lane: int, flags: int, identifier: int, body: bytes) -> None:
        assert (kind, lane, flags, identifier) == (frames.Type.NOTICE, frames.Lane.NONE, 0, 0)
        number, zero, _ = struct.unpack_from("<HHQ", body)
        assert zero == 0
        self.notices.append((number, body[14:].decode()))

    def end(self, why: str) -> None:
        self.ended = why
        if self.lease is not None:  # Its session finds that its link has ended.
            threading.Timer(0.02, self.lease.lost, (self,)).start()


class Served:
    """A device as links see it."""

    def __init__(self, device: hal.Device, keep: bool) -> None:
        self.device = device
        self.keep = keep
        self.ended = 0

    def end(self) -> None:
        assert is_open(self.device)
        self.ended += 1


DEVICES = {"echo": "loopback:", "sim": "sim:uart", "bad": "loopback:/no?such=option"}


def give(
    devices: dict[str, str] = DEVICES, keep_max: int = 30, longest: float | None = None
) -> Leases:
    return Leases(devices, keep_max, longest, Served)


def is_open(device: hal.Device) -> bool:
    return not repr(device).endswith("closed>")


def test_sharing_is_one_device_until_the_last_gives_it_back() -> None:
    leases = give()
    first = leases.lease("echo", ANN, False, {})
    second = leases.lease("echo", BEN, False, {})
    assert first.device is second.device
    assert first.number != second.number and first.secret != second.secret
    assert len(first.secret) == 16 and 0 < first.number < 1 << 64
    assert leases.holders("echo") == [first, second] and leases.holders("sim") == []
    assert leases.release(first)
    assert not leases.release(first)
    assert is_open(second.device)
    assert leases.release(second)
    assert not is_open(second.device)
    assert leases.held() == []


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_exclusive_goes_with_nobody(before: bool, after: bool) -> None:
    leases = give()
    leases.lease("echo", ANN, before, {})
    with pytest.raises(hal.Busy, match=rf"held by {ANN} since 20\d\d-\d\d-\d\d .* UTC") as caught:
        leases.lease("echo", BEN, after, {})
    assert caught.value.errno == errno.EBUSY
    leases.close()
    leases.lease("echo", BEN, after, {})
    leases.close()


def test_other_options_are_in_the_way() -> None:
    leases = give()
    leases.lease("sim", ANN, False, {"size": "100"})
    leases.lease("sim", ANN, False, {"size": "100"})
    with pytest.raises(hal.Busy, match="other options"):
        leases.lease("sim", BEN, False, {"size": "200"})
    leases.close()
    other = leases.lease("sim", BEN, False, {"size": "200"})
    assert other.device.attributes["size"] == 200
    leases.close()


def test_what_is_not_there_or_does_not_open() -> None:
    leases = give()
    with pytest.raises(hal.NotFound, match="exported to you may be: bad, echo, sim"):
        leases.lease("nothing", ANN, False, {})
    with pytest.raises(hal.Error):
        leases.lease("bad", ANN, True, {})
    with pytest.raises(hal.Error):  # The failure held nothing.
        leases.lease("bad", BEN, True, {})
    assert leases.held() == []


def test_a_lost_link_ends_a_lease_without_keep() -> None:
    leases = give()
    lease, link = leases.lease("echo", ANN, True, {}), Link()
    lease.attach(link)
    lease.lost(Link())
    assert leases.held() == [lease]
    lease.lost(link)
    assert lease.why == "its link was lost"
    assert not is_open(lease.device)
    with pytest.raises(hal.Busy, match="its link was lost"):
        lease.attach(link)


def test_keep_is_what_the_agent_grants_at_most() -> None:
    leases = give(keep_max=30)
    grants = [leases.lease("echo", ANN, False, {}, keep).keep for keep in (0, 29, 30, 31)]
    assert grants == [0, 29, 30, 30]
    served = [lease.served for lease in leases.held()]
    assert [s.keep for s in served if isinstance(s, Served)] == [False, True, True, True]
    leases.close()


def test_a_kept_lease_ends_in_time_and_not_before() -> None:
    leases = give()
    lease, link = leases.lease("echo", ANN, True, {}, keep=20), Link()
    lease.attach(link)
    assert leases.sweep(time.monotonic() + 1000) == []
    lease.lost(link)
    now = time.monotonic()
    assert lease.kept and "whose link is lost" in str(lease)
    assert leases.sweep(now + 19) == []
    with pytest.raises(hal.Busy, match="whose link is lost"):
        leases.lease("echo", BEN, True, {})
    assert leases.sweep(now + 20) == [lease]
    assert lease.why == "its link was lost more than 20 s ago"
    assert not is_open(lease.device)


def test_the_longest_lease() -> None:
    leases = give(longest=100)
    lease, link = leases.lease("echo", ANN, True, {}), Link()
    lease.attach(link)
    assert leases.sweep(time.monotonic() + 99) == []
    assert leases.sweep(time.monotonic() + 101) == [lease]
    assert link.notices == [(OVER, "its time of 100 s is over")]
    assert link.ended == lease.why


def test_resuming_takes_number_secret_and_identity() -> None:
    leases = give()
    lease, link = leases.lease("echo", ANN, True, {}, keep=20), Link()
    lease.attach(link)
    lease.lost(link)
    ann, ben = ANN.identity.id, BEN.identity.id
    wrong = [
        (lease.number + 1, lease.secret, ann),
        (lease.number, bytes(16), ann),
        (lease.number, lease.secret, ben),
    ]
    for number, secret, who in wrong:
        with pytest.raises(hal.NotFound, match=r"no such lease \(any more\)"):
            leases.resume(number, secret, who, Link())
    again = Link()
    assert leases.resume(lease.number, lease.secret, ann, again) is lease
    assert lease.link is again and not lease.kept
    assert leases.sweep(time.monotonic() + 1000) == []
    leases.release(lease)
    with pytest.raises(hal.NotFound):
        leases.resume(lease.number, lease.secret, ann, Link())


def test_resuming_ends_the_link_whose_loss_has_not_shown() -> None:
    leases = give()
    lease, link, again = leases.lease("echo", ANN, True, {}, keep=20), Link(), Link()
    lease.attach(link)
    link.lease = lease
    leases.resume(lease.number, lease.secret, ANN.identity.id, again)
    assert link.ended == "its lease is resumed by another link"
    lease.lost(link)  # Late: it is no more its link.
    assert lease.link is again and not lease.kept
    leases.close()


def test_taking_over_ends_the_other_links_and_opens_anew() -> None:
    leases = give()
    olds = [leases.lease("sim", ANN, False, {"size": "100"}, keep=20) for _ in range(2)]
    links = [Link(), Link()]
    for old, link in zip(olds, links, strict=True):
        old.attach(link)
    olds[1].lost(links[1])
    new = leases.lease("sim", BEN, True, {"size": "200"}, take_over=True)
    assert new.device.attributes["size"] == 200
    assert links[0].notices == [(TAKEN, f"taken over by {BEN}")]
    assert links[0].ended == f"taken over by {BEN}"
    assert links[1].notices == []
    assert not any(is_open(old.device) for old in olds)
    assert leases.held() == [new]
    with pytest.raises(hal.NotFound):
        leases.resume(olds[1].number, olds[1].secret, ANN.identity.id, Link())
    olds[0].lost(links[0])
    assert leases.holders("sim") == [new]
    leases.close()


def test_what_is_kept_is_not_in_the_way_of_its_own_controller() -> None:
    leases = give()
    old, link = leases.lease("echo", ANN, True, {}, keep=20), Link()
    old.attach(link)
    with pytest.raises(hal.Busy):  # Its link lives: another program of that machine.
        leases.lease("echo", ANN, True, {})
    old.lost(link)
    new = leases.lease("echo", ANN, True, {})
    assert old.why == "opened anew" and leases.held() == [new]
    leases.close()


def test_taking_over_what_is_not_in_the_way_ends_nothing() -> None:
    leases = give()
    old = leases.lease("echo", ANN, False, {})
    new = leases.lease("echo", BEN, False, {}, take_over=True)
    assert leases.held() == [old, new]
    assert leases.drop("echo", "dropped") == [old, new]
    assert leases.drop("echo", "dropped") == []


def test_configure_keeps_what_is_held() -> None:
    leases = give()
    lease = leases.lease("echo", ANN, True, {})
    assert leases.configure({"sim": "sim:uart", "new": "loopback:"}, 10, None) == ["echo"]
    assert [export.name for export in leases.all()] == ["new", "sim"]
    assert is_open(lease.device) and leases.holders("echo") == [lease]
    with pytest.raises(hal.NotFound):
        leases.lease("echo", BEN, False, {})
    assert leases.configure({"echo": "loopback:"}, 10, None) == []
    leases.release(lease)
    assert not is_open(lease.device)
    assert leases.lease("echo", BEN, True, {}, keep=20).keep == 10
    leases.close()


def test_a_device_that_is_exported_anew_is_still_one() -> None:
    """Held by its old URI, it is not opened by its new one beside that."""
    leases = give({"echo": "loopback:"})
    old = leases.lease("echo", ANN, False, {})
    assert leases.configure({"echo": "sim:uart"}, 30, None) == ["echo"]
    with pytest.raises(hal.Busy, match="as it was exported before"):
        leases.lease("echo", BEN, False, {})
    told: list[Lease] = []
    leases.taken = told.append
    new = leases.lease("echo", BEN, False, {}, take_over=True)
    assert new.device.driver == "sim" and told == [old] and not is_open(old.device)
    leases.close()


def test_many_threads_never_hold_an_exclusive_device_at_once() -> None:
    leases = give()
    inside: list[int] = []
    wrong: list[str] = []

    def work(number: int) -> None:
        for _ in range(30):
            try:
                lease = leases.lease("echo", somebody(number), True, {}, timeout=5)
            except hal.Busy:
                continue
            inside.append(number)
            if len(inside) > 1 or not is_open(lease.device):
                wrong.append(f"{inside}")
            inside.remove(number)
            leases.release(lease)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and leases.held() == []
