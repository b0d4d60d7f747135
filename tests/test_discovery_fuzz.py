# SPDX-License-Identifier: Apache-2.0
"""What reads packets of strangers, given everything that hypothesis and libFuzzer think of."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hal.discovery import txt
from hal.discovery.liveness import Liveness
from hal.discovery.record import Record
from hal.discovery.roster import Limits, Roster
from hal.discovery.sighting import Sighting
from hal.discovery.ssdp import heard
from hal.discovery.ssdp.heard import Heard
from hal.discovery.ssdp.message import FIELDS_MAX, Message, MessageError, parse
from hal.discovery.ssdp.transport import Sender
from tests.fuzz.fuzzing import finds_nothing

NAMES = st.sampled_from(
    "NT nts USN Location CACHE-CONTROL BOOTID.UPNP.ORG NEXTBOOTID.UPNP.ORG SERVER MX MAN X "
    f"SEARCHPORT.UPNP.ORG {heard.TEXT_FIELD}".split()
)
WORDS = st.sampled_from(
    [
        "ssdp:alive",
        "ssdp:byebye",
        "ssdp:update",
        "upnp:rootdevice",
        "uuid:a::b",
        "urn:a:device:b:1",
        "hal://[::1]:1",
        "uuid:0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11",
        "http://10.0.0.1:80/",
        "hal://10.0.0.1:7000/",
        "max-age=-1",
        "0",
        "7",
        "-3",
        "2147483647",
        "99999999999999999999",
    ]
)
LINES = st.builds("{}:{}".format, NAMES, WORDS | st.text(max_size=40))
STARTS = st.sampled_from(["NOTIFY * HTTP/1.1", "M-SEARCH * HTTP/1.1", "HTTP/1.1 200 OK"])
PACKETS = st.builds(
    lambda start, lines: "\r\n".join([start, *lines, "", ""]).encode("utf-8", "surrogatepass"),
    STARTS | st.text(max_size=30),
    st.lists(LINES, max_size=FIELDS_MAX + 2),
)


@given(st.binary(max_size=5000) | PACKETS)
@example(b"")
@example(b"NOTIFY * HTTP/1.1" + b"\r\n" * 3000)
def test_any_packet_is_read_or_refused(packet: bytes) -> None:
    try:
        message = parse(packet)
    except MessageError:
        return
    assert len(message.fields) <= FIELDS_MAX
    for name, value in message.fields.items():
        assert name == name.upper() and value.isprintable()
    numbers = (message.boot, message.next_boot, message.search_port, message.mx)
    assert all(number is None or 0 <= number < 2**31 for number in numbers)
    assert message.max_age >= 0 and message.uuid == message.uuid.strip()


@given(
    st.sampled_from(["NOTIFY", "M-SEARCH", "200"]),
    st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5),
)
def test_what_is_sent_is_read_again_as_the_same(kind: str, fields: dict[str, str]) -> None:
    try:
        packet = bytes(Message(kind, fields))
    except MessageError:
        return
    if len({name.upper() for name in fields}) == len(fields):
        again = parse(packet)
        assert again.kind == kind
        assert again.fields == {name.upper(): value.strip() for name, value in fields.items()}


@given(
    st.lists(
        st.binary(min_size=1, max_size=60).filter(lambda s: not s.startswith(b"=")), max_size=6
    )
)
def test_text_field_carries_any_txt_record(strings: list[bytes]) -> None:
    record = b"".join(bytes([len(string)]) + string for string in strings)
    field = heard.text_field(record)
    assert field.isascii() and field.isprintable()
    assert heard._text(field) == record
    assert txt.parse(heard._text(field)) == txt.parse(record)


class Neighbourhood(RuleBasedStateMachine):
    """Devices come, change, go and lie in any order; time goes on."""

    hosts = st.sampled_from(["10.0.0.1", "10.0.0.2", "fe80::1"])
    uuids = st.sampled_from(["0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11", "x", "y"])
    boots = st.none() | st.integers(0, 3)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.roster = Roster(clock=lambda: self.now)
        self.heard = Heard(Liveness(self.roster), clock=lambda: self.now)

    @rule(
        host=hosts,
        uuid=uuids,
        boot=boots,
        following=boots,
        nts=st.sampled_from(["ssdp:alive", "ssdp:alive", "ssdp:byebye", "ssdp:update", "?"]),
        nt=st.sampled_from(["upnp:rootdevice", "urn:a:device:b:1", "uuid:x"]),
        location=st.sampled_from(["http://10.0.0.1:1/", "hal://10.0.0.1:7/", "hal://[fe80::1]:7/"]),
        age=st.sampled_from([0, 5, 60, 10**12]),
    )
    def hear(
        self,
        host: str,
        uuid: str,
        boot: int | None,
        following: int | None,
        nts: str,
        nt: str,
        location: str,
        age: int,
    ) -> None:
        fields = {"NTS": nts, "NT": nt, "USN": f"uuid:{uuid}::{nt}", "LOCATION": location}
        fields["CACHE-CONTROL"] = f"max-age={age}"
        if boot is not None:
            fields["BOOTID.UPNP.ORG"] = str(boot)
        if following is not None:
            fields["NEXTBOOTID.UPNP.ORG"] = str(following)
        self.heard.hear(Message("NOTIFY", fields), Sender(ipaddress.ip_address(host), 1, "e", 2))

    @rule(seconds=st.sampled_from([1.0, 20.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        following = self.heard.expire()
        self.roster.expire()
        assert following is None or self.now < following <= self.now + heard.AGE_MAX

    @rule()
    def forget(self) -> None:
        self.heard.forget("e")
        assert not len(self.heard) and not self.roster.snapshot().records

    @invariant()
    def records_are_of_devices_kept(self) -> None:
        records = self.roster.snapshot().records
        assert len(records) <= len(self.heard) <= 9
        assert all(record.trust == "unverified" for record in records)
        assert bool(records) == bool(len(self.heard))


class AnyRoster(RuleBasedStateMachine):
    """Sightings of any source in any order; what the roster promises holds."""

    sources = st.sampled_from(["mdns", "ssdp", "static"])
    keys = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.roster = Roster(Limits(sightings=5, per_origin=3), lambda: self.now)
        self.kept: dict[tuple[str, str], Sighting] = {}
        self.generation = 0

    @rule(
        source=sources,
        key=keys,
        id_=st.sampled_from("12"),
        state=st.sampled_from(["announced", "reachable", "silent"]),
        places=st.frozensets(st.sampled_from(["ip 1", "ip 2", "mac 3"])),
        origin=st.sampled_from("mn"),
        lasts=st.none() | st.floats(0, 9),
    )
    def see(
        self,
        source: str,
        key: str,
        id_: str,
        state: str,
        places: frozenset[str],
        origin: str,
        lasts: float | None,
    ) -> None:
        record = Record(
            id=id_,
            identity=id_,
            name=id_,
            device_class="remote",
            state=state,
            trust="unverified",
        )
        expires = None if lasts is None else self.now + lasts
        sighting = Sighting(source, key, record, places, origin, expires)
        if self.roster.see(sighting):
            self.kept[source, key] = sighting
        else:
            self.kept.pop((source, key), None)

    @rule(source=sources, key=keys)
    def lose(self, source: str, key: str) -> None:
        self.roster.lose(source, key)
        self.kept.pop((source, key), None)

    @rule(source=sources)
    def replace(self, source: str) -> None:
        self.roster.replace(source, ())
        self.kept = {key: seen for key, seen in self.kept.items() if key[0] != source}

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.roster.expire()
        self.kept = {
            key: seen
            for key, seen in self.kept.items()
            if seen.expires is None or seen.expires > self.now
        }

    @invariant()
    def holds(self) -> None:
        snapshot = self.roster.snapshot()
        assert len(self.kept) <= 5
        assert {record.id for record in snapshot.records} == {
            seen.record.id for seen in self.kept.values()
        }
        living = [record for record in snapshot.records if record.state == "cloned"]
        assert len(living) != 1
        assert snapshot.generation >= self.generation
        self.generation = snapshot.generation


for machine in (Neighbourhood, AnyRoster):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestNeighbourhood = Neighbourhood.TestCase
TestAnyRoster = AnyRoster.TestCase


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    """Every reader of the discovery, for a few seconds (tests/fuzz/discovery.py)."""
    finds_nothing("discovery", tmp_path)
