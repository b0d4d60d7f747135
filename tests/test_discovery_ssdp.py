# SPDX-License-Identifier: Apache-2.0
"""SSDP without a network: messages and their limits, what is kept of them, what is said."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hal.discovery.announcement import Announcement
from hal.discovery.liveness import Endpoint
from hal.discovery.rate import Bucket, Gate
from hal.discovery.roster import Roster
from hal.discovery.sighting import Sighting
from hal.discovery.ssdp import SsdpAnnouncer, SsdpScout, heard, message, responder
from hal.discovery.ssdp.advertisement import Advertisement, is_search
from hal.discovery.ssdp.boot import BootCounter
from hal.discovery.ssdp.heard import Heard
from hal.discovery.ssdp.kinds import HAL_TYPE
from hal.discovery.ssdp.message import Message, MessageError, parse
from hal.discovery.ssdp.search import question, search
from hal.discovery.ssdp.transport import Link, Sender
from tests.forked import IS_THREADED, in_child

UUID = "0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11"
MEDIA = "urn:schemas-upnp-org:device:MediaServer:1"


def packet(*fields: str, start: str = "NOTIFY * HTTP/1.1") -> bytes:
    return "\r\n".join([start, *fields, "", ""]).encode()


# ---- messages -----------------------------------------------------------------------------------


def test_names_are_read_in_any_case_and_written_in_upper_case() -> None:
    read = parse(packet("Host: 239.255.255.250:1900", "nts:ssdp:alive", "uSn:\t uuid:X::y \t"))
    assert read.kind == "NOTIFY"
    assert read.fields == {
        "HOST": "239.255.255.250:1900",
        "NTS": "ssdp:alive",
        "USN": "uuid:X::y",
    }
    assert read.uuid == "x"
    assert b"\r\nMAN: " in bytes(Message("M-SEARCH", {"man": '"ssdp:discover"'}))


@pytest.mark.parametrize(
    "start",
    [
        "",
        "GET / HTTP/1.1",
        "NOTIFY / HTTP/1.1",
        "NOTIFY * HTTP/2.0",
        "notify * HTTP/1.1",
        "NOTIFY * HTTP/1.1 x",
        "HTTP/1.1 404 Not Found",
        "HTTP/1.1 200\x00",
        "\u00e9",
    ],
)
def test_other_start_lines_are_refused(start: str) -> None:
    with pytest.raises(MessageError, match="start line"):
        parse(packet("A: b", start=start))


def test_start_lines_of_old_devices_are_taken() -> None:
    assert parse(packet(start="HTTP/1.0 200")).kind == "200"
    assert parse(b"NOTIFY * HTTP/1.1\nNT: x").target == "x"  # bare line feeds, no empty line


def test_packet_size() -> None:
    filler = b"X" * (message.PACKET_MAX - len(packet()))
    assert parse(packet() + filler)
    with pytest.raises(MessageError, match=f"{message.PACKET_MAX + 1} bytes"):
        parse(packet() + filler + b"X")


@pytest.mark.parametrize("same", [False, True])
def test_number_of_fields(same: bool) -> None:
    def fields(count: int) -> list[str]:
        return [f"A{0 if same else index}: b" for index in range(count)]

    for count in (message.FIELDS_MAX - 1, message.FIELDS_MAX):
        assert len(parse(packet(*fields(count))).fields) == (1 if same else count)
    for count in (message.FIELDS_MAX + 1, message.FIELDS_MAX + 50):
        with pytest.raises(MessageError, match=f"more than {message.FIELDS_MAX} fields"):
            parse(packet(*fields(count)))


def test_line_and_value_length() -> None:
    value = "x" * message.VALUE_MAX
    assert parse(packet(f"A: {value}")).get("A") == value
    with pytest.raises(MessageError, match="characters"):
        parse(packet(f"A: {value}x"))
    padding = " " * (message.LINE_MAX - 4)
    assert parse(packet(f"A:{padding} b")).get("A") == "b"
    with pytest.raises(MessageError, match=f"a line of {message.LINE_MAX + 1} bytes"):
        parse(packet(f"A: {padding} b"))
    assert parse(packet(f"{'n' * 64}: b"))
    with pytest.raises(MessageError, match="not a field"):
        parse(packet(f"{'n' * 65}: b"))


@pytest.mark.parametrize("line", ["no colon", " folded: x", "a b: c", ": empty", "\u00fc: x"])
def test_what_is_no_field_is_refused(line: str) -> None:
    with pytest.raises(MessageError, match="not a field"):
        parse(packet("NT: x", line))


def test_one_thing_said_in_two_ways_is_refused() -> None:
    assert parse(packet("NT: x", "nt: x")).target == "x"
    with pytest.raises(MessageError, match='"NT": said twice'):
        parse(packet("NT: x", "nt: y"))


def test_control_characters_are_taken_out() -> None:
    read = parse(b"NOTIFY * HTTP/1.1\r\nSERVER: a\x1b[31mb\rc\x00\xff\xe2\x80\xaed\r\n\r\n")
    assert read.get("SERVER") == "a[31mbc\ufffdd"
    assert parse(b"NOTIFY * HTTP/1.1\r\nSERVER:\x01\t a\tb \x01\r\n").get("SERVER") == "a b"


@pytest.mark.parametrize(
    ("value", "age"),
    [
        ("max-age=1800", 1800),
        ("no-cache, MAX-AGE = 7", 7),
        ('max-age="60"', 60),
        ("max-age=-1", message.MAX_AGE_DEFAULT),
        ("max-age=\u0661", message.MAX_AGE_DEFAULT),  # a digit, but not of ASCII
        ("xmax-age=3", message.MAX_AGE_DEFAULT),
        ("", message.MAX_AGE_DEFAULT),
        ("max-age=999999999999", 999999999999),
        ("max-age=" + "9" * 400, message.MAX_AGE_DEFAULT),
    ],
)
def test_max_age(value: str, age: int) -> None:
    assert parse(packet(f"CACHE-CONTROL: {value}")).max_age == age


@pytest.mark.parametrize(
    ("value", "mx"),
    [("1", 1), ("5", 5), ("6", 5), ("120", 5), ("0", None), ("-3", None), ("x", None), ("", None)],
)
def test_mx(value: str, mx: int | None) -> None:
    assert parse(packet(f"MX: {value}", start="M-SEARCH * HTTP/1.1")).mx == mx


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", 0), ("007", 7), (str(2**31 - 1), 2**31 - 1), (str(2**31), None), ("-1", None)],
)
def test_boot_id(value: str, number: int | None) -> None:
    assert parse(packet(f"BOOTID.UPNP.ORG: {value}")).boot == number


@pytest.mark.parametrize(
    ("value", "port"), [("49151", None), ("49152", 49152), ("65535", 65535), ("65536", None)]
)
def test_search_port(value: str, port: int | None) -> None:
    assert parse(packet(f"SEARCHPORT.UPNP.ORG: {value}")).search_port == port


@pytest.mark.parametrize(
    ("usn", "uuid"),
    [
        (f"uuid:{UUID.upper()}", UUID),
        (f"UUID:{UUID}::upnp:rootdevice", UUID),
        ("uuid:RINCON_949F3EC2D9::x", "rincon_949f3ec2d9"),
        ("urn:x", ""),
        ("uuid:", ""),
        ("uuid:a b", ""),
        ("uuid:" + "a" * 69, ""),
    ],
)
def test_uuid_of_a_usn(usn: str, uuid: str) -> None:
    assert parse(packet(f"USN: {usn}")).uuid == uuid


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\n", "\x00", "x" * (message.VALUE_MAX + 1)])
def test_nothing_breaks_out_of_its_line(value: str) -> None:
    with pytest.raises(MessageError, match="not a header field"):
        bytes(Message("NOTIFY", {"NT": value}))
    with pytest.raises(MessageError, match="not a header field"):
        bytes(Message("NOTIFY", {"N T": "x"}))


def test_no_packet_that_we_would_refuse_is_sent() -> None:
    fields = {f"F{index}": "x" * message.VALUE_MAX for index in range(5)}
    with pytest.raises(MessageError, match="bytes"):
        bytes(Message("NOTIFY", fields))
    assert bytes(Message("NOTIFY", {"A": "ü" * 600}))
    with pytest.raises(MessageError, match="a line of more than"):
        bytes(Message("NOTIFY", {"A": "ü" * 1000}))


# ---- rates --------------------------------------------------------------------------------------


def test_a_bucket_that_is_waited_for() -> None:
    bucket = Bucket(rate=2, burst=2, now=0)
    assert [bucket.wait(0) for _ in range(4)] == [0, 0, 0.5, 1.0]
    assert bucket.wait(1) == 0.5
    assert bucket.wait(9) == 0


def test_bucket() -> None:
    bucket = Bucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(-100), bucket.take(0)] == [False, False]  # a clock that jumps back


def test_gate_forgets_who_was_heard_longest_ago() -> None:
    gate = Gate(rate=1, burst=1, clock=lambda: 0.0, senders=2)
    assert gate.admit("a") and gate.admit("b") and not gate.admit("a")
    assert gate.admit("c") and len(gate) == 2
    assert not gate.admit("a")  # remembered: it was heard after b
    assert gate.admit("b")


# ---- what is kept -------------------------------------------------------------------------------


class Network:
    """What is heard from hosts, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.macs: dict[str, str] = {}
        self.endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self.roster = Roster(clock=lambda: self.now)
        self.heard = Heard(self, lambda: self.macs, lambda: self.now)

    def see(self, sighting: Sighting, endpoints: tuple[Endpoint, ...]) -> bool:
        self.endpoints[sighting.key] = endpoints
        return self.roster.see(sighting)

    def lose(self, key: str) -> None:
        self.roster.lose(heard.SOURCE, key)

    def notify(
        self,
        nts: str = "ssdp:alive",
        *,
        uuid: str = UUID,
        nt: str = MEDIA,
        host: str = "10.0.0.1",
        age: int | str = 1800,
        location: str | None = None,
        **more: object,
    ) -> bool:
        """A device speaks. True when it is a new one."""
        location = location or f"http://{host}:80/d.xml"
        fields = {
            "NTS": nts,
            "NT": nt,
            "USN": f"uuid:{uuid}::{nt}",
            "LOCATION": location,
            "CACHE-CONTROL": f"max-age={age}",
            **{f"{name.upper()}.UPNP.ORG": str(value) for name, value in more.items()},
        }
        return self.heard.hear(Message("NOTIFY", fields), sender(host)) is not None

    def names(self) -> list[str]:
        self.heard.expire()
        self.roster.expire()
        return [record.identity for record in self.roster.snapshot().records]


def sender(host: str) -> Sender:
    return Sender(ipaddress.ip_address(host), 1900, "eth0", 2, multicast=True)


@pytest.fixture
def network() -> Network:
    return Network()


def test_many_notices_are_one_record(network: Network) -> None:
    embedded = "11111111-5f0a-4b59-9d35-8d5f0f0f9a11"
    assert network.notify(uuid=embedded, nt="urn:schemas-upnp-org:device:WANDevice:1")
    assert not network.notify(nt="upnp:rootdevice")
    for kind in ("MediaServer:1", "ConnectionManager:1"):
        assert not network.notify(nt=f"urn:schemas-upnp-org:device:{kind}")
    (record,) = network.roster.snapshot().records
    assert record.identity == f"uuid {UUID}"  # of the root device
    assert (record.device_class, record.trust, record.state) == (
        "automation",
        "unverified",
        "announced",
    )
    assert record.properties["upnp.types"].count("urn:") == 3
    assert record.properties["uri.upnp"] == "http://10.0.0.1:80/d.xml"
    assert record.addresses == ("10.0.0.1",)


def test_expiry_is_by_max_age_within_bounds(network: Network) -> None:
    ages: list[tuple[int | str, float]] = [
        (0, heard.AGE_MIN),
        (heard.AGE_MIN, heard.AGE_MIN),
        (heard.AGE_MAX - 1, heard.AGE_MAX - 1),
        (999999999999, heard.AGE_MAX),
        ("-7", message.MAX_AGE_DEFAULT),
    ]
    for age, kept in ages:
        network.notify(age=age)
        network.now += kept - 0.5
        assert len(network.names()) == 1, age
        assert network.heard.expire() == pytest.approx(network.now + 0.5)
        network.now += 1
        assert network.names() == [], age
        assert network.heard.expire() is None


def test_each_notice_prolongs(network: Network) -> None:
    for _ in range(5):
        network.notify(age=20)
        network.now += 15
        assert len(network.names()) == 1
    network.now += 6
    assert network.names() == []


def test_byebye_counts_only_from_where_it_was_announced(network: Network) -> None:
    network.notify(bootid=5)
    network.notify("ssdp:byebye", host="10.0.0.66", bootid=5)
    assert len(network.names()) == 1
    network.notify("ssdp:byebye", bootid=4)  # an old one, repeated
    network.notify("ssdp:byebye")  # without one
    assert len(network.names()) == 1
    network.notify("ssdp:byebye", bootid=5)
    assert network.names() == []
    network.notify("ssdp:byebye", bootid=5)


def test_byebye_without_boot_id_of_a_device_without_one(network: Network) -> None:
    network.notify()
    network.notify("ssdp:byebye")
    assert network.names() == []


def test_boot_id_only_grows(network: Network) -> None:
    network.notify(bootid=5, age=100)
    network.now += 50
    network.notify(bootid=4, age=3600)  # repeated by somebody
    network.now += 51
    assert network.names() == []  # so it did not prolong
    network.notify(bootid=4)  # forgotten, so taken for new
    assert len(network.names()) == 1
    network.notify(bootid=6)
    network.notify("ssdp:byebye", bootid=4)
    assert len(network.names()) == 1


def test_an_answer_is_no_repetition(network: Network) -> None:
    network.notify(bootid=5)
    network.notify(bootid=2**31 - 1)  # somebody in its name
    network.notify("ssdp:byebye", bootid=5)
    answer = {"USN": f"uuid:{UUID}", "LOCATION": "http://10.0.0.1:80/d.xml", "BOOTID.UPNP.ORG": "5"}
    network.heard.hear(Message("200", answer), sender("10.0.0.1"))
    assert len(network.names()) == 1
    network.notify("ssdp:byebye", bootid=5)
    assert network.names() == []


def test_update_announces_the_next_boot_id(network: Network) -> None:
    network.notify(bootid=5)
    network.notify("ssdp:update", host="10.0.0.66", bootid=5, nextbootid=1000)
    network.notify("ssdp:update", bootid=4, nextbootid=2000)
    network.notify("ssdp:update", bootid=5, nextbootid=6)
    network.notify("ssdp:byebye", bootid=5)
    assert len(network.names()) == 1
    network.notify(bootid=6)
    network.notify("ssdp:byebye", bootid=6)
    assert network.names() == []


def test_a_device_that_moves_to_another_port_is_one(network: Network) -> None:
    network.notify(location="http://10.0.0.1:1000/")
    network.notify(location="http://10.0.0.1:2000/")
    (record,) = network.roster.snapshot().records
    assert record.properties["uri.upnp"] == "http://10.0.0.1:2000/"
    assert len(network.heard) == 1


def test_a_location_elsewhere_gives_no_address(network: Network) -> None:
    for location in (
        "http://10.9.9.9:80/d.xml",
        "http://user@evil:80/",
        "http://[::1/",
        "http://10.0.0.1:99999999999/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//",
        "x" * heard.LOCATION_MAX,
    ):
        network.notify(location=location)
        (record,) = network.roster.snapshot().records
        assert record.addresses == ("10.0.0.1",)
        assert "uri.upnp" not in record.properties
        assert record.detail.startswith("its location names another host")
        assert network.endpoints[f"10.0.0.1 {location}"] == ()
    before = network.heard.refused
    network.notify(location="x" * (heard.LOCATION_MAX + 1))
    assert network.heard.refused == before + 1


def test_a_hal_device_is_where_it_speaks_from(network: Network) -> None:
    network.notify(nt="upnp:rootdevice", location="hal://10.0.0.1:7000/")
    (record,) = network.roster.snapshot().records
    assert (record.id, record.device_class, record.uri) == (
        UUID,
        "remote",
        f"hal://10.0.0.1:7000?id={UUID}",
    )
    (endpoints,) = network.endpoints.values()
    assert endpoints == (("10.0.0.1", 7000),)
    for location in ("hal://10.0.0.9:7000/", "hal://evil:7000/", "hal://10.0.0.2/", "hal://"):
        network.notify(host="10.0.0.2", location=location)
    assert network.notify(host="10.0.0.3", uuid="no-uuid", location="hal://10.0.0.3:7/") is False
    assert len(network.roster.snapshot().records) == len(network.heard) == 1


def test_soapy_remote_has_the_id_that_mdns_gives_it(network: Network) -> None:
    from hal.discovery import service, txt

    kind = "urn:schemas-pothosware-com:service:soapyRemote:1"
    network.notify(nt=kind, location="tcp://radio:55132")
    (record,) = network.roster.snapshot().records
    twin = service.Service(
        "_soapy._tcp", "radio", "radio.local", 55132, ("10.0.0.1",), txt.build([("uuid", UUID)])
    )
    other = service.sighting(twin, "mdns", "x").record
    assert (record.id, record.device_class, record.name) == (
        other.id,
        other.device_class,
        other.name,
    )
    assert record.properties == {**other.properties, "upnp.types": kind}


def test_both_families_are_one_device_by_its_mac(network: Network) -> None:
    network.notify(location="hal://10.0.0.1:7000/")
    network.notify(host="fd00::1", location="hal://[fd00::1]:7000/")
    (record,) = network.roster.snapshot().records
    assert len(record.addresses) == 1  # of one place; which is the other's, nobody knows yet
    network.macs = {"10.0.0.1": "02:00:00:00:00:01", "fd00::1": "02:00:00:00:00:01"}
    network.heard.locate()
    (record,) = network.roster.snapshot().records
    assert sorted(record.addresses) == ["10.0.0.1:7000", "[fd00::1]:7000"]


def test_what_came_by_an_interface_is_forgotten_with_it(network: Network) -> None:
    network.notify()
    network.heard.forget("eth1")
    assert len(network.names()) == 1
    network.heard.forget("eth0")
    assert network.names() == []


def test_types_and_uuids_of_a_device_are_bounded(network: Network) -> None:
    for index in range(100):
        uuid = f"{index:08x}-5f0a-4b59-9d35-8d5f0f0f9a11"
        network.notify(uuid=uuid, nt=f"urn:x:device:{index}:1", location="http://10.0.0.1/")
    network.notify(nt="x" * 500, location="http://10.0.0.1/")
    (record,) = network.roster.snapshot().records
    assert record.properties["upnp.types"].count("urn:") == heard.TYPES_MAX


def test_a_server_text_is_cut(network: Network) -> None:
    for length in (heard.SERVER_MAX - 1, heard.SERVER_MAX, heard.SERVER_MAX + 1):
        location = f"http://10.0.0.1:{length}/"
        fields = {"NTS": "ssdp:alive", "NT": MEDIA, "USN": f"uuid:s{length}", "LOCATION": location}
        network.heard.hear(
            Message("NOTIFY", {**fields, "SERVER": "x" * length}), sender("10.0.0.1")
        )
    kept = {len(r.properties["upnp.server"]) for r in network.roster.snapshot().records}
    assert kept == {heard.SERVER_MAX - 1, heard.SERVER_MAX}


def test_a_type_that_is_too_long_is_left_out(network: Network) -> None:
    for length in (heard.TYPE_MAX - 1, heard.TYPE_MAX, heard.TYPE_MAX + 1):
        network.notify(nt="urn:".ljust(length, "x"), location="http://10.0.0.1/")
    (record,) = network.roster.snapshot().records
    types = record.properties["upnp.types"].split(",")
    assert [len(kind) for kind in types] == [heard.TYPE_MAX - 1, heard.TYPE_MAX]


def test_a_goodbye_of_a_uuid_beyond_those_noted_is_none(network: Network) -> None:
    uuids = [f"part{index}" for index in range(heard.UUIDS_MAX + 1)]
    for uuid in uuids:
        network.notify(uuid=uuid, location="http://10.0.0.1/")
    network.notify("ssdp:byebye", uuid=uuids[-1])
    assert len(network.heard) == 1
    network.notify("ssdp:byebye", uuid=uuids[-2])
    assert len(network.heard) == 0


def flood(network: Network, hosts: int, each: int) -> None:
    for index in range(each):
        for host in range(hosts):
            address = f"10.1.{host // 256}.{host % 256}"
            uuid = f"{index:08x}-0000-4000-8000-{host:012x}"
            network.notify(uuid=uuid, host=address, location=f"http://{address}:{index}/")


def test_one_sender_has_bounded_room(network: Network) -> None:
    flood(network, 1, heard.SENDER_MAX - 1)
    assert len(network.heard) == heard.SENDER_MAX - 1
    flood(network, 1, heard.SENDER_MAX)
    assert len(network.heard) == heard.SENDER_MAX
    flood(network, 1, heard.SENDER_MAX + 1)
    assert len(network.heard) == heard.SENDER_MAX
    assert network.notify(host="10.0.0.1")


def test_a_flood_of_10000_devices_leaves_room_for_a_good_one(network: Network) -> None:
    flood(network, 250, 40)
    assert network.notify(nt="upnp:rootdevice", location="hal://10.0.0.1:7000/")
    flood(network, 250, 20)
    assert UUID in [record.id for record in network.roster.snapshot().records]
    assert heard.DEVICES_MAX - 256 <= len(network.heard) <= heard.DEVICES_MAX
    network.now += heard.AGE_MAX + 1
    assert network.names() == [] and len(network.heard) == 0


def test_with_nobody_to_take_from_the_known_ones_stay(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "DEVICES_MAX", 300)
    assert network.notify(location="hal://10.0.0.1:7000/")
    flood(network, heard.DEVICES_MAX + 100, 1)
    assert len(network.heard) == heard.DEVICES_MAX
    assert network.notify(host="10.0.0.2") is False
    assert UUID in [record.id for record in network.roster.snapshot().records]


# ---- what is said -------------------------------------------------------------------------------

LINK4 = Link("eth0", 2, ipaddress.IPv4Interface("10.0.0.1/24"), "239.255.255.250")
LINK6 = Link("eth0", 2, ipaddress.IPv6Interface("fe80::1/64"), "ff02::c")


def advertisement(**changes: object) -> Advertisement:
    device = Announcement(UUID, 7000, "Tüv; board=1", "1.2", ("i2c", "gpio"), boot="01234567")
    return Advertisement(replace(device, **changes), boot=7, max_age=1800)  # type: ignore[arg-type]


@pytest.mark.parametrize("link", [LINK4, LINK6])
def test_what_is_announced_is_understood(network: Network, link: Link) -> None:
    said = advertisement()
    notices = [parse(bytes(notice)) for notice in said.alive(link, 50000)]
    assert [notice.target for notice in notices] == ["upnp:rootdevice", f"uuid:{UUID}", HAL_TYPE]
    for notice in notices:
        assert notice.get("HOST") == link.destination
        assert (notice.boot, notice.max_age, notice.search_port) == (7, 1800, 50000)
        network.heard.hear(notice, sender(str(link.address.ip)))
    (record,) = network.roster.snapshot().records
    assert (record.id, record.model) == (UUID, "Tüv; board=1")
    assert record.properties["capabilities"] == "i2c,gpio"
    for name in said.names:
        answer = parse(bytes(said.answer(name, link, 50000)))
        assert (answer.kind, answer.target, answer.uuid) == ("200", name, UUID)
        assert len(bytes(said.answer(name, link, 50000))) < 1400
    for notice in said.update(link, 8, 50000):
        network.heard.hear(parse(bytes(notice)), sender(str(link.address.ip)))
    for boot, left in ((7, 1), (8, 0)):
        for notice in replace(said, boot=boot).byebye(link):
            network.heard.hear(parse(bytes(notice)), sender(str(link.address.ip)))
        assert len(network.roster.snapshot().records) == left


def test_config_id_changes_with_what_is_said_alone() -> None:
    config = advertisement().config
    assert 0 <= config < 1 << 24
    assert advertisement(boot="76543210").config == config
    assert advertisement(model="x").config != config
    assert advertisement(port=7001).config != config


def test_what_searches_ask_for() -> None:
    said = advertisement()
    assert said.sought("ssdp:all") == list(said.names)
    assert said.sought(f"uuid:{UUID.upper()}") == [f"uuid:{UUID}"]
    assert said.sought(HAL_TYPE) == [HAL_TYPE]
    assert said.sought("urn:hal-internal:device:HalDevice:2") == []
    assert said.sought("") == []
    asked = parse(bytes(search("ssdp:all", 3, "239.255.255.250:1900")))
    assert is_search(asked) and asked.mx == 3
    assert is_search(question("ssdp:all", "10.0.0.1:1900"))
    assert not is_search(parse(packet("MAN: ssdp:other", start="M-SEARCH * HTTP/1.1")))
    assert not is_search(parse(packet(start="M-SEARCH * HTTP/1.1")))


def test_only_where_it_listens() -> None:
    assert advertisement().reachable(LINK4)
    assert advertisement(addresses=("10.0.0.1", "fe80::2")).reachable(LINK4)
    assert not advertisement(addresses=("10.0.0.1", "fe80::2")).reachable(LINK6)


class Answers:
    """Stands for a transport: counts what is answered."""

    def __init__(self) -> None:
        self.count = 0

    def route(self, _: Sender) -> Link:
        return LINK4

    def port(self, _: Link) -> int:
        return 50000

    def answer(self, _packet: bytes, _to: Sender) -> None:
        self.count += 1


def asker(number: int, *, multicast: bool) -> Sender:
    host = ipaddress.ip_address("10.0.0.0") + number
    return Sender(host, 2000, "eth0", 2, multicast=multicast)


def test_how_many_searches_wait_for_their_answer() -> None:
    async def run() -> None:
        answers = Answers()
        waiting = responder.Responder(answers, advertisement)  # type: ignore[arg-type]
        asked = search(HAL_TYPE, 5, "239.255.255.250:1900")
        for number in range(responder.PENDING_MAX + 1):
            assert (len(waiting), waiting.refused) == (number, 0)
            waiting.heard(asked, asker(number, multicast=True))
        assert (len(waiting), waiting.refused) == (responder.PENDING_MAX, 1)
        waiting.close()
        assert len(waiting) == answers.count == 0

    asyncio.run(run())


def test_how_much_all_together_are_answered() -> None:
    async def run() -> None:
        answers = Answers()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        busy = responder.Responder(answers, advertisement)  # type: ignore[arg-type]
        for number in range(responder.TOTAL_BURST + 100):
            busy.heard(question(HAL_TYPE, "10.0.0.1:1900"), asker(number, multicast=False))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        most = responder.TOTAL_BURST + responder.TOTAL_RATE * (loop.time() - begun) + 1
        assert responder.TOTAL_BURST <= answers.count <= most
        assert answers.count + busy.refused == responder.TOTAL_BURST + 100
        busy.close()

    asyncio.run(run())


# ---- BOOTID -------------------------------------------------------------------------------------


def clock(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def test_boot_id_grows_over_restarts_and_clocks_set_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "bootid"
    today, year2021 = clock(1_800_000_000), clock(1_610_000_000)
    first = BootCounter(path, today).next()
    counter = BootCounter(path, year2021)
    assert [counter.next(), counter.next()] == [first + 1, first + 2]
    assert BootCounter(path, clock(0)).next() == first + 3
    path.unlink()
    assert BootCounter(path, clock(1_800_000_010)).next() > first + 3  # the clock stands in
    assert [entry.name for entry in path.parent.iterdir()] == ["bootid"]


@pytest.mark.parametrize("content", ["", "x", "-5", "9" * 40, "12\0", str(2**31)])
def test_damaged_boot_file_is_made_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bootid"
    path.write_text(content)
    number = BootCounter(path, clock(1_800_000_000)).next()
    assert path.read_text() == f"{number}\n"


def test_boot_id_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "bootid"
    path.write_text(str(2**31 - 2))
    counter = BootCounter(path, clock(0))
    assert [counter.next(), counter.next(), counter.next()] == [2**31 - 1, 1, 2]
    assert BootCounter(None, clock(9e9)).next() == 1


def test_boot_id_that_cannot_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    counter = BootCounter(path / "bootid", clock(1_800_000_000))
    with pytest.raises(FileExistsError):
        counter.next()
    assert counter.last > 0


# ---- loopback -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings(IS_THREADED)
def test_on_the_loopback(tmp_path: Path) -> None:
    """No rights and no network are needed: a device and a scout on one machine."""
    device = Announcement(UUID, 7000, "Bench board")
    roster = Roster()

    async def until(there: bool) -> None:
        while there != any(r.id == UUID for r in roster.snapshot().records):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def run() -> None:
        announcer = SsdpAnnouncer(device, ["lo"], state=tmp_path / "bootid")
        scout = asyncio.ensure_future(SsdpScout(["lo", "none0"]).run(roster))
        await announcer.start()
        assert list(announcer.announced) == ["lo"]
        await asyncio.wait_for(until(True), 60)
        await announcer.stop()
        assert not list(announcer.announced)
        await asyncio.wait_for(until(False), 60)
        assert "there is no such interface" in str(roster.snapshot().problems)
        await announcer.start()  # again, with a greater BOOTID
        await asyncio.wait_for(until(True), 60)
        with pytest.raises(ValueError, match="the id of a device does not change"):
            await announcer.update(replace(device, id=UUID.replace("0d", "0e")))
        await announcer.stop()
        scout.cancel()
        await asyncio.gather(scout, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1

    def child() -> None:
        """Where nobody else opens files meanwhile."""
        descriptors = len(os.listdir("/proc/self/fd"))
        asyncio.run(run())
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert not roster.snapshot().records and not roster.snapshot().problems

    assert in_child(child) == ""


def test_max_age_of_an_announcer() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        SsdpAnnouncer(Announcement(UUID, 7000), max_age=19)
    SsdpAnnouncer(Announcement(UUID, 7000), max_age=20)
