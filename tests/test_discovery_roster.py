# SPDX-License-Identifier: Apache-2.0
"""The live set: merging, clones, bounds, expiry; against a model that does all of it anew."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hal.discovery import Limits, Record, Roster, Sighting
from hal.discovery.change import Change
from hal.discovery.merge import is_link_local

A, B = (str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("a", "b"))


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def heard(
    key: str,
    *,
    source: str = "mdns",
    identity: str = A,
    address: str = "10.0.0.1",
    places: tuple[str, ...] | None = None,
    state: str = "announced",
    trust: str = "unverified",
    origin: str = "10.0.0.1",
    expires: float | None = None,
    seen: float = 1.0,
    name: str = "dev",
    links: tuple[str, ...] = (),
    **members: object,
) -> Sighting:
    """A sighting on the network."""
    record = Record(
        id=identity,
        identity="announced",
        name=name,
        device_class="remote",
        addresses=(address,),
        state=state,
        trust=trust,
        sources=(source,),
        last_seen=seen,
    )
    where = frozenset((f"ip {address}",) if places is None else places)
    told = replace(record, **members)  # type: ignore[arg-type]
    return Sighting(source, key, told, where, origin, expires, links)


@pytest.fixture
def roster() -> Roster:
    return Roster()


# ---- merging -------------------------------------------------------------------------------------


def test_sightings_of_one_place_are_one_record(roster: Roster) -> None:
    roster.see(heard("m", address="10.0.0.1", places=("host a", "ip 10.0.0.1"), model="thing"))
    roster.see(
        heard("s", source="ssdp", address="fd00::1", places=("host a",), seen=5, vendor="me")
    )
    (record,) = roster.snapshot().records
    assert set(record.addresses) == {"10.0.0.1", "fd00::1"}
    assert (record.sources, record.vendor, record.model) == (("mdns", "ssdp"), "me", "thing")
    assert record.last_seen == 5
    assert roster.snapshot().problems == ()


def test_places_are_shared_through_a_third(roster: Roster) -> None:
    roster.see(heard("1", places=("ip 10.0.0.1",), state="reachable"))
    roster.see(heard("2", places=("ip 10.0.0.2",), state="reachable", address="10.0.0.2"))
    assert len(roster.snapshot().records) == 2
    roster.see(heard("3", source="static", places=("ip 10.0.0.1", "ip 10.0.0.2")))
    (record,) = roster.snapshot().records
    assert record.state == "reachable"
    roster.lose("static", "3")
    assert {r.state for r in roster.snapshot().records} == {"cloned"}


def test_addresses_are_ranked(roster: Roster) -> None:
    shared = ("host a",)
    roster.see(heard("1", address="fe80::1%eth0", places=shared))
    roster.see(heard("2", source="ssdp", address="10.0.0.1", places=shared))
    roster.see(heard("3", source="static", address="10.9.9.9", places=shared, trust="verified"))
    roster.see(heard("4", source="local", address="/dev/x", places=shared, trust="local"))
    (record,) = roster.snapshot().records
    assert record.addresses == ("/dev/x", "10.9.9.9", "10.0.0.1", "fe80::1%eth0")
    assert record.trust == "local"


PLUGGED = heard(
    "/sys/1-2",
    source="local",
    address="1-2",
    places=("path /sys/1-2",),
    state="kernel",
    trust="local",
    origin="",
    links=("usb0",),
    parent="hub",
    vendor="Acme",
)


def test_what_is_plugged_in_is_who_is_heard_by_its_own_link(roster: Roster) -> None:
    """A board on a USB cable that is a network too: one record, which says how to open it."""
    roster.see(PLUGGED)
    uri = f"hal://10.0.0.1:7362?id={A}"
    roster.see(heard("m", links=("usb0",), uri=uri, state="reachable", name="board"))
    (record,) = roster.snapshot().records
    assert roster.snapshot().problems == ()
    assert record.addresses == ("10.0.0.1", "1-2")
    assert (record.name, record.uri, record.state) == ("board", uri, "reachable")
    assert (record.trust, record.sources) == ("unverified", ("mdns", "local"))
    assert (record.vendor, record.parent) == ("Acme", "hub")


def test_what_is_plugged_in_is_not_who_is_heard_elsewhere(roster: Roster) -> None:
    roster.see(PLUGGED)
    roster.see(heard("m", links=("eth0",), state="reachable"))
    assert [r.state for r in roster.snapshot().records] == ["kernel", "cloned"]
    roster.see(heard("m", links=("usb0",), state="reachable"))
    assert len(roster.snapshot().records) == 1
    roster.see(heard("n", links=("usb0",), state="reachable", address="10.0.0.2"))
    assert len(roster.snapshot().records) == 3  # Two on its link: nobody can say which is it.
    roster.lose("mdns", "n")
    assert len(roster.snapshot().records) == 1


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("fe80::1", True),
        ("FEBF::1%eth0", True),
        ("hal://[fe80::1%25eth0]:7070/uart0", True),
        ("fec0::1", False),
        ("fe80.example.org", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_link_local_is_recognised(address: str, local: bool) -> None:
    assert is_link_local(address) is local


# ---- clones --------------------------------------------------------------------------------------


def test_one_identity_alive_at_two_places_is_an_alarm(roster: Roster) -> None:
    roster.see(heard("1", state="reachable", name="one"))
    roster.see(heard("2", state="reachable", address="10.0.0.2", name="two"))
    snapshot = roster.snapshot()
    assert [(r.name, r.state, r.addresses) for r in snapshot.records] == [
        ("one", "cloned", ("10.0.0.1",)),
        ("two", "cloned", ("10.0.0.2",)),
    ]
    assert "10.0.0.2" in snapshot.records[0].detail
    (problem,) = snapshot.problems
    assert A in problem.cause
    assert "10.0.0.1" in problem.cause and "10.0.0.2" in problem.cause
    roster.lose("mdns", "2")
    assert [r.state for r in roster.snapshot().records] == ["reachable"]
    assert roster.snapshot().problems == ()


@pytest.mark.parametrize("state", ["announced", "silent"])
def test_an_address_change_is_no_clone(roster: Roster, state: str) -> None:
    roster.see(heard("old", state=state, seen=1))
    roster.see(heard("new", state="reachable", address="10.0.0.2", seen=2))
    (record,) = roster.snapshot().records
    assert (record.state, record.addresses) == ("reachable", ("10.0.0.2",))
    assert roster.snapshot().problems == ()


def test_hearsay_alone_gives_the_place_heard_of_last(roster: Roster) -> None:
    roster.see(heard("1", seen=1))
    roster.see(heard("2", address="10.0.0.2", seen=2))
    assert [r.addresses for r in roster.snapshot().records] == [("10.0.0.2",)]
    roster.see(heard("1", seen=3))  # Only the time is newer; yet it changes which one counts.
    assert [r.addresses for r in roster.snapshot().records] == [("10.0.0.1",)]


@pytest.mark.parametrize("trust", ["verified", "local"])
def test_the_one_that_is_proven_keeps_its_state(roster: Roster, trust: str) -> None:
    roster.see(heard("1", state="reachable", trust=trust))
    roster.see(heard("2", state="reachable", address="10.0.0.2"))
    true, false = roster.snapshot().records
    assert (true.state, false.state) == ("reachable", "cloned")
    assert "10.0.0.1 is proven" in roster.snapshot().problems[0].cause


def test_two_that_are_proven_are_both_cloned(roster: Roster) -> None:
    for key in ("1", "2"):
        roster.see(heard(key, trust="verified", address=f"10.0.0.{key}"))
    assert [r.state for r in roster.snapshot().records] == ["cloned", "cloned"]


def test_the_alarm_stays_short(roster: Roster) -> None:
    for number in range(100):
        roster.see(heard(str(number), address=f"10.0.0.{number}", state="reachable"))
    (problem,) = roster.snapshot().problems
    assert len(problem.cause) < 400
    assert all(len(record.detail) < 300 for record in roster.snapshot().records)


# ---- generations ---------------------------------------------------------------------------------


def test_the_generation_grows_by_changes_alone(roster: Roster) -> None:
    calls: list[int] = []
    end = roster.listen(lambda: calls.append(roster.snapshot().generation))
    roster.see(heard("1", seen=1))
    first = roster.snapshot()
    roster.see(heard("1", seen=2))
    second = roster.snapshot()
    assert second.generation == first.generation
    assert (first.records[0].last_seen, second.records[0].last_seen) == (1, 2)
    roster.lose("mdns", "none")
    roster.trouble("mdns", "")
    assert len(calls) == 1
    roster.see(heard("1", state="reachable"))
    roster.trouble("mdns", "no route", "eth0")
    roster.trouble("mdns", "no route", "eth0")
    assert [str(p) for p in roster.snapshot().problems] == ["mdns eth0: no route"]
    roster.trouble("mdns", "", "eth0")
    assert calls == sorted(set(calls)) and len(calls) == 4
    end()
    roster.lose("mdns", "1")
    assert len(calls) == 4
    assert roster.snapshot().records == ()


def test_an_unchanged_set_is_the_same_object(roster: Roster) -> None:
    roster.see(heard("1"))
    roster.see(heard("2", identity=B))
    before = roster.snapshot()
    assert roster.snapshot() is before
    roster.see(heard("2", identity=B, state="silent"))
    after = roster.snapshot()
    untouched = [r for r in after.records if r.id == A]
    assert untouched[0] is next(r for r in before.records if r.id == A)


def test_replace_loses_what_is_not_among_the_new(roster: Roster) -> None:
    calls: list[None] = []
    roster.listen(lambda: calls.append(None))
    roster.replace("local", [heard("1", source="local"), heard("2", source="local", identity=B)])
    roster.see(heard("1", identity=str(uuid.uuid4())))
    roster.replace("local", [heard("2", source="local", identity=B)])
    assert len(roster.snapshot().records) == 2
    assert len(calls) == 3


def test_a_key_may_change_its_identity(roster: Roster) -> None:
    roster.see(heard("1"))
    roster.see(heard("1", identity=B))
    assert [r.id for r in roster.snapshot().records] == [B]


# ---- expiry --------------------------------------------------------------------------------------


def test_what_is_past_its_time_goes() -> None:
    clock = Clock()
    roster = Roster(clock=clock)
    assert roster.expire() is None
    roster.see(heard("1", expires=110))
    roster.see(heard("2", identity=B, expires=120))
    assert roster.expire() == 110
    clock.now = 109.9
    roster.see(heard("1", expires=115))
    clock.now = 110
    roster.expire()
    assert len(roster.snapshot().records) == 2
    clock.now = 115
    assert roster.expire() == 120
    assert [r.id for r in roster.snapshot().records] == [B]
    clock.now = 1000
    assert roster.expire() is None
    assert roster.snapshot().records == ()


def test_a_sighting_may_be_cut_short() -> None:
    clock = Clock()
    roster = Roster(clock=clock)
    roster.see(heard("1", expires=1000))
    roster.see(heard("1", expires=101))  # A goodbye, which leaves it one second.
    clock.now = 101
    roster.expire()
    assert roster.snapshot().records == ()


def test_renewing_takes_no_memory() -> None:
    roster = Roster(clock=Clock())
    for number in range(5000):
        roster.see(heard("1", expires=1000 + number))
    assert len(roster._deadlines) < 200


# ---- bounds --------------------------------------------------------------------------------------


def fill(roster: Roster, count: int, origin: str = "10.0.0.1", stem: str = "") -> int:
    """Announce so many devices; give how many found room."""
    return sum(
        roster.see(heard(f"{stem}{i}", identity=str(uuid.uuid4()), origin=origin))
        for i in range(count)
    )


def test_one_sender_has_bounded_room() -> None:
    roster = Roster(Limits(sightings=100, per_origin=10))
    assert fill(roster, 10) == 10
    assert roster.snapshot().problems == ()
    assert fill(roster, 5, stem="more") == 0
    (problem,) = roster.snapshot().problems
    assert "10.0.0.1 announces more than 10" in problem.cause
    assert fill(roster, 5, origin="10.0.0.2", stem="other") == 5
    assert roster.see(heard("0", identity=str(uuid.uuid4())))  # In place of one that is there.
    roster.lose("mdns", "1")
    assert roster.snapshot().problems == ()
    assert fill(roster, 2, stem="again") == 1


def test_all_senders_have_bounded_room() -> None:
    roster = Roster(Limits(sightings=10, per_origin=10))
    assert fill(roster, 10) == 10
    assert roster.snapshot().problems == ()
    # Who announces little still finds room, until all have the same share.
    assert fill(roster, 7, origin="10.0.0.2", stem="b") == 5
    assert len(roster.snapshot().records) == 10
    causes = [problem.cause for problem in roster.snapshot().problems]
    assert any("10.0.0.1 announces more than its share of 10" in cause for cause in causes)
    assert any("announcements of more than 10" in cause for cause in causes)
    assert fill(roster, 10, origin="10.0.0.3", stem="c") == 3
    assert len(roster.snapshot().records) == roster._heard == 10
    local = heard("x", source="local", identity=B, origin="")
    assert roster.see(local)  # This machine's own devices always find room.


def test_a_flood_from_made_up_addresses_is_bounded() -> None:
    roster = Roster(Limits(sightings=50))
    kept = sum(
        fill(roster, 1, origin=f"10.0.{i // 250}.{i % 250}", stem=f"{i}") for i in range(500)
    )
    assert kept == len(roster.snapshot().records) == 50
    assert len(roster.snapshot().problems) == 1


def test_one_identity_has_bounded_room() -> None:
    roster = Roster(Limits(per_identity=3))
    kept = [
        roster.see(heard(str(i), origin=f"10.0.0.{i}", address=f"10.0.0.{i}")) for i in range(5)
    ]
    assert kept == [True] * 3 + [False] * 2
    assert "more than 3" in roster.snapshot().problems[0].cause


def test_troubles_are_bounded() -> None:
    roster = Roster(Limits(troubles=5))
    for number in range(10):
        roster.trouble("mdns", "bad", str(number))
    assert len(roster.snapshot().problems) == 5
    roster.trouble("mdns", "worse", "0")
    assert "worse" in str(roster.snapshot().problems[0])


def test_names_from_the_network_are_only_text(roster: Roster) -> None:
    for number, name in enumerate(["9" * 5000, "", "²", "a1b2", "\ud800", "a" * 10000]):
        roster.see(heard(str(number), identity=str(uuid.uuid4()), name=name, device_class="odd"))
    assert len(roster.snapshot().records) == 6


def test_threads_may_use_it_at_once(roster: Roster) -> None:
    def work(source: str) -> None:
        for number in range(200):
            roster.see(heard(str(number % 20), source=source, identity=str(uuid.UUID(int=number))))
            roster.snapshot()
            roster.lose(source, str(number % 7))
        roster.replace(source, [])

    threads = [threading.Thread(target=work, args=(name,)) for name in ("mdns", "ssdp", "dns")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert roster.snapshot().records == ()
    assert roster._heard == 0 and not roster._origins


# ---- differences ---------------------------------------------------------------------------------


def test_a_difference_tells_clones_apart(roster: Roster) -> None:
    roster.see(heard("1", state="reachable"))
    before = roster.snapshot()
    roster.see(heard("2", state="reachable", address="10.0.0.2"))
    change = Change.between(before, roster.snapshot())
    assert (len(change.added), len(change.changed), len(change.removed)) == (1, 1, 0)
    change = Change.between(roster.snapshot(), before)
    assert (len(change.added), len(change.changed), len(change.removed)) == (0, 1, 1)
    assert not Change.between(before, before).differs
    assert Change.between(None, before).added == before.records


# ---- against a model -----------------------------------------------------------------------------

_KEYS = st.sampled_from("abcdefgh")
_SOURCES = st.sampled_from(["mdns", "ssdp", "static"])
_PLACES = st.frozensets(st.sampled_from(["ip 1", "ip 2", "ip 3", "host x"]), min_size=1, max_size=2)
_STATES = st.sampled_from(["announced", "reachable", "silent"])
_LIMITS = Limits(sightings=12, per_origin=6, per_identity=4)


class Model(RuleBasedStateMachine):
    """The roster beside a dictionary of sightings from which everything is worked out anew."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.roster = Roster(_LIMITS, self.clock)
        self.sightings: dict[tuple[str, str], Sighting] = {}
        self.time = itertools.count(1)
        self.generations: dict[int, list[tuple[object, ...]]] = {}

    def note(self, sighting: Sighting) -> bool:
        self.sightings.pop((sighting.source, sighting.key), None)
        others = list(self.sightings.values())
        network = [s for s in others if s.origin]
        if sighting.origin and (
            len(network) >= _LIMITS.sightings
            or sum(s.origin == sighting.origin for s in network) >= _LIMITS.per_origin
            or sum(s.record.id == sighting.record.id for s in network) >= _LIMITS.per_identity
        ):
            return False
        self.sightings[sighting.source, sighting.key] = sighting
        return True

    def make(self, source: str, key: str, identity: str, places: frozenset[str], state: str,
             origin: str, life: int) -> Sighting:  # fmt: skip
        return heard(
            key, source=source, identity=identity, places=tuple(places), state=state,
            address=f"{source} {key}", origin=origin, seen=next(self.time),
            expires=self.clock.now + life if life else None,
        )  # fmt: skip

    @rule(source=_SOURCES, key=_KEYS, identity=st.sampled_from([A, B]), places=_PLACES,
          state=_STATES, origin=st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
          life=st.integers(0, 3))  # fmt: skip
    def see(self, source: str, key: str, identity: str, places: frozenset[str], state: str,
            origin: str, life: int) -> None:  # fmt: skip
        sighting = self.make(source, key, identity, places, state, origin, life)
        assert self.roster.see(sighting) == self.note(sighting)

    @precondition(lambda self: self.sightings)
    @rule(data=st.data())
    def see_again(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.sightings)))
        old = self.sightings[which]
        new = replace(old, record=replace(old.record, last_seen=float(next(self.time))))
        assert self.roster.see(new)
        self.sightings[which] = new

    @rule(source=_SOURCES, key=_KEYS)
    def lose(self, source: str, key: str) -> None:
        self.roster.lose(source, key)
        self.sightings.pop((source, key), None)

    @rule(source=_SOURCES, keys=st.sets(_KEYS, max_size=3), identity=st.sampled_from([A, B]),
          places=_PLACES)  # fmt: skip
    def replace(self, source: str, keys: set[str], identity: str, places: frozenset[str]) -> None:
        new = [self.make(source, key, identity, places, "announced", "", 0) for key in sorted(keys)]
        self.roster.replace(source, new)
        self.sightings = {which: s for which, s in self.sightings.items() if which[0] != source}
        for sighting in new:
            self.note(sighting)

    @rule(seconds=st.integers(0, 3))
    def expire(self, seconds: int) -> None:
        self.clock.now += seconds
        following = self.roster.expire()
        now = self.clock.now
        self.sightings = {
            which: s for which, s in self.sightings.items() if s.expires is None or s.expires > now
        }
        times = [s.expires for s in self.sightings.values() if s.expires is not None]
        assert following == min(times, default=None)

    @invariant()
    def agrees(self) -> None:
        snapshot = self.roster.snapshot()
        assert Counter(r.id for r in snapshot.records) == self.expected()
        for record in snapshot.records:
            self.check(record)
        cloned = sum(number > 1 for number in self.expected().values())
        assert sum(problem.source == "clone" for problem in snapshot.problems) == cloned
        plain = [tuple(vars_of(record)) for record in snapshot.records]
        assert self.generations.setdefault(snapshot.generation, plain) == plain

    def groups(self, identity: str) -> list[list[Sighting]]:
        """Those of one identity that share places, found by naive closure."""
        left = [s for s in self.sightings.values() if s.record.id == identity]
        groups = []
        while left:
            group = [left.pop(0)]
            while near := [s for s in left if any(s.places & g.places for g in group)]:
                group += near
                left = [s for s in left if s not in near]
            groups.append(group)
        return groups

    def living(self, identity: str) -> list[list[Sighting]]:
        groups = self.groups(identity)
        return [g for g in groups if any(s.record.state == "reachable" for s in g)]

    def expected(self) -> Counter[str]:
        identities = {s.record.id for s in self.sightings.values()}
        return Counter({i: max(1, len(self.living(i))) for i in identities})

    def check(self, record: Record) -> None:
        living = self.living(record.id)
        groups = living or self.groups(record.id)
        group = next(g for g in groups if set(_addresses(g)) == set(record.addresses))
        if not living:  # The place heard of last.
            assert record.last_seen == max(s.record.last_seen for g in groups for s in g)
        assert record.state == ("cloned" if len(living) > 1 else _state(group))
        assert set(record.sources) == {s.source for s in group}


def _addresses(group: list[Sighting]) -> list[str]:
    return [address for sighting in group for address in sighting.record.addresses]


def _state(group: list[Sighting]) -> str:
    states = {sighting.record.state for sighting in group}
    return min(states, key=["reachable", "silent", "announced"].index)


def vars_of(record: Record) -> list[object]:
    """A record's members but the time."""
    return [v for k, v in record.as_dict().items() if k not in ("last_seen", "properties")]


Model.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase


def test_who_names_no_place_joins_the_others(roster: Roster) -> None:
    roster.see(heard("1", state="reachable"))
    roster.see(heard("2", source="dns", address="10.0.0.9", places=()))
    (record,) = roster.snapshot().records
    assert record.addresses == ("10.0.0.1", "10.0.0.9")
    roster.lose("mdns", "1")
    roster.see(heard("3", source="ssdp", address="10.0.0.8", places=()))
    assert len(roster.snapshot().records) == 1


def test_ten_thousand_devices_are_merged_one_by_one() -> None:
    roster = Roster()
    for number in range(10_000):
        address = f"10.{number >> 8 & 255}.{number & 255}.1"
        roster.see(heard(str(number), identity=str(uuid.UUID(int=number)), address=address))
    before = roster.snapshot()
    roster.lose("mdns", "77")
    after = roster.snapshot()
    assert (len(before.records), len(after.records)) == (10_000, 9_999)
    kept = {id(record) for record in before.records}
    assert all(id(record) in kept for record in after.records)  # None was made anew.
